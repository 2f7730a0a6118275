#!/bin/sh
# Another program.
echo "GNU bash, version 5.2.15"
