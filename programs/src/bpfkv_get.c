/*
 * bpfkv_get.c - look a key up in a BPF-KV store.
 *
 * BPF-KV is the key-value store that the XRP paper (OSDI '22) used to show what
 * storage functions are good for: a B+tree of 512-byte nodes over a heap of
 * 64-byte values. A lookup in a tree of depth 6 is seven dependent reads, so it
 * is the fairest comparison there is between one call and seven round trips.
 * This reads the very files that BPF-KV writes.
 *
 * A node is one block of 512 bytes, numbers little-endian:
 *
 *     0    next      offset of the right neighbour (older files: number of keys)
 *     8    type      0 inner node, 1 leaf
 *     16   key[31]   ascending
 *     264  ptr[31]   where key[i]'s child (leaf: value) is
 *
 * A pointer is a byte offset in the file with bit 63 set, which is what tells
 * it from an address in memory. Child i holds the keys from key[i] up to
 * key[i+1]. Nodes are full; a builder that has fewer than 31 keys for one fills
 * the rest with keys of all ones and pointers of zero, which lead nowhere.
 * Values are 64 bytes at multiples of 64, so each lies in one block.
 *
 * Arguments: struct bpfkv_get_args, of which `root` may be left out.
 * Reply:     the 64 bytes of the value; the result is 64.
 * Errors: -EINVAL   fewer than 8 bytes of arguments, or root not a multiple of 512
 *         -ENOENT   the store has no such key
 *         -EUCLEAN  not a BPF-KV tree: a node of no known type, a pointer
 *                   without bit 63 or not aligned, a tree deeper than DEPTH_MAX
 *         -ERANGE   a pointer that leads out of the object
 *         and what else dpu_read() returns.
 */
#include "dpu.h"

#define BLOCK 512
#define KEYS 31
#define VALUE 64
#define DEPTH_MAX 16 /* 31^13 is more keys than a __u64 tells apart */

#define TYPE_INNER 0
#define TYPE_LEAF 1

#define POINTER_BIT (1ull << 63)

struct bpfkv_get_args {
	__u64 key;
	__u64 root; /* offset of the root node; BPF-KV has it at 0 */
};

struct node {
	__u64 next;
	__u64 type;
	__u64 key[KEYS];
	__u64 ptr[KEYS];
};
_Static_assert(sizeof(struct node) == BLOCK, "a node is a block");

static union {
	struct node node;
	__u8 values[BLOCK];
} block DPU_SCRATCH;

DPU_LIMITS(sizeof(struct bpfkv_get_args), VALUE, 0, 1);

/*
 * The last i with key[i] <= key, or 0 if there is none: five compares, since
 * an index below 32 is five bits and each compare settles one of them.
 */
static __always_inline __u32 slot_of(__u64 key)
{
	__u32 i = 0;

#pragma clang loop unroll(full)
	for (__u32 step = 16; step > 0; step >>= 1) {
		__u32 probe = i + step;
		if (probe < KEYS && block.node.key[probe] <= key)
			i = probe;
	}
	return i;
}

SEC("dpu/call") int bpfkv_get(struct dpu_ctx *ctx)
{
	const struct bpfkv_get_args *args = ctx->args;
	__u64 key = args->key;
	__u64 offset = args->root;

	if (ctx->args_len < sizeof(args->key) || offset % BLOCK)
		return -EINVAL;

	for (__u32 depth = 0; depth < DEPTH_MAX; depth++) {
		long err = dpu_read(0, offset, &block, BLOCK);
		if (err)
			return (int)err;

		__u64 type = block.node.type;
		__u32 i = slot_of(key);
		__u64 found = block.node.key[i];
		__u64 pointer = block.node.ptr[i];
		if (type > TYPE_LEAF)
			return -EUCLEAN;
		if (found > key || (type == TYPE_LEAF && found != key))
			return -ENOENT;
		if (pointer == 0)
			return -ENOENT; /* a filler */
		if (!(pointer & POINTER_BIT))
			return -EUCLEAN;
		offset = pointer & ~POINTER_BIT;

		if (type == TYPE_LEAF) {
			__u32 at = offset % BLOCK;
			if (at % VALUE)
				return -EUCLEAN;
			err = dpu_read(0, offset - at, &block, BLOCK);
			if (err)
				return (int)err;
			dpu_memcpy(ctx->reply, block.values + at, VALUE);
			return VALUE;
		}
		if (offset % BLOCK)
			return -EUCLEAN;
	}
	return -EUCLEAN;
}
