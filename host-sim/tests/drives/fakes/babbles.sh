#!/bin/sh
# A QEMU that does not speak its protocol. Its end of the socket is standard output.
[ "$1" = --version ] && exec echo "QEMU emulator version 9.0.0"
echo "HELO, who is there?"
exec sleep 60
