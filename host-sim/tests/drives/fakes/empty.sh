#!/bin/sh
# A QEMU whose machine has nothing on its bus: every read is all ones.
[ "$1" = --version ] && exec echo "QEMU emulator version 9.0.0"
while read -r command rest; do
	case $command in
	read*) echo "OK 0xffffffff" ;;
	*) echo OK ;;
	esac
done <&1
