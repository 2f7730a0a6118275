/* FNV-1a over a block: a chain of multiplications, a byte each. */
#define NAME fnv
#define BYTES 4096
#include "engine.h"

static __always_inline __u64 work(const __u8 *bytes, __u64 key)
{
	__u64 hash = 0xcbf29ce484222325ull ^ key;

	for (__u32 i = 0; i < BYTES; i++) {
		hash ^= bytes[i];
		hash *= 0x100000001b3ull;
	}
	return hash;
}
