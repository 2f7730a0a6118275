#!/bin/sh
# A QEMU that ends as soon as it is started.
[ "$1" = --version ] && exec echo "QEMU emulator version 9.0.0"
echo "qemu-system-aarch64: no room left on the moon" >&2
exit 3
