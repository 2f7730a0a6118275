#!/bin/sh
# A QEMU of long ago.
echo "QEMU emulator version 5.2.0 (Debian 1:5.2+dfsg-11)"
