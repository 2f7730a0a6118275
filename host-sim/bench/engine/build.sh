#!/bin/sh
# Makes the objects of the workloads that are not native: run it here after a change of the
# sources. It needs clang and wasm-ld (Debian's clang and lld). The objects in the repository were
# made by clang 14.0.6.
set -eu
cd "$(dirname "$0")"
for name in filter_scan page_search fnv varint; do
	bpf="clang -target bpf -mcpu=v3 -O2 -Wall -Wextra -Werror -nostdinc"
	$bpf -I../../../programs/include -c $name.c -o objects/$name.o
	$bpf -DRAW -c $name.c -o objects/$name.raw.o
	$bpf -DKERNEL -c $name.c -o objects/$name.kernel.o
	clang --target=wasm32 -O2 -Wall -Wextra -Werror -nostdlib -Wl,--no-entry -Wl,--strip-all \
		$name.c -o objects/$name.wasm
done
