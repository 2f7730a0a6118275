/*
 * crc_cache.c - the CRC-32C of a block, read at most once while it is remembered.
 *
 * A cache in an LRU map: 64 blocks, and the one that was asked for longest ago
 * makes place. It reads the drive between looking and remembering, so other
 * calls of the instance run in between and may have read the same block: the
 * map is looked at anew after the read, as everything that calls share has to.
 * A block that is written is not noticed; version names the state that the
 * caller wants, and what is remembered of another one does not count.
 *
 * Arguments (16 bytes): struct crc_cache_args.
 * Reply (16 bytes):     struct crc_cache_reply.
 * Errors: -EINVAL   fewer than 12 bytes of arguments
 *         -ERANGE   the block is not all in the object
 *         and what else dpu_read() returns.
 */
#include "dpu.h"

#define BLOCK 4096
#define REMEMBERED 64

struct crc_cache_args {
	__u64 offset;  /* of the block */
	__u32 version; /* of its contents */
	__u32 reserved;
};

struct crc_cache_reply {
	__u32 crc;
	__u32 was_there; /* 1 if it was remembered */
	__u32 hits;      /* of the instance, so far */
	__u32 misses;
};

struct sum {
	__u32 version;
	__u32 crc;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, REMEMBERED);
	__type(key, __u64);
	__type(value, struct sum);
} sums SEC(".maps");

static volatile struct {
	__u32 hits;
	__u32 misses;
} counts;

static __u8 block[BLOCK] DPU_SCRATCH;

DPU_LIMITS(sizeof(struct crc_cache_args), sizeof(struct crc_cache_reply), 0, 1);

SEC("dpu/call") int crc_cache(struct dpu_ctx *ctx)
{
	const struct crc_cache_args *args = ctx->args;
	struct crc_cache_reply *reply = ctx->reply;
	__u64 offset = args->offset;
	__u32 version = args->version;
	const struct sum *known;
	struct sum sum;
	__u32 crc;
	long err;

	if (ctx->args_len < 12)
		return -EINVAL;

	known = bpf_map_lookup_elem(&sums, &offset);
	if (known && known->version == version) {
		crc = known->crc;
		counts.hits++;
		reply->was_there = 1;
	} else {
		err = dpu_read(0, offset, block, sizeof(block));
		if (err)
			return (int)err;
		crc = dpu_crc32c(0, block, sizeof(block));
		sum.version = version;
		sum.crc = crc;
		err = bpf_map_update_elem(&sums, &offset, &sum, BPF_ANY);
		if (err)
			return (int)err;
		counts.misses++;
		reply->was_there = 0;
	}
	reply->crc = crc;
	reply->hits = counts.hits;
	reply->misses = counts.misses;
	return sizeof(*reply);
}
