/*
 * tally.c - count: amounts by key, how often which size came, and all calls.
 *
 * It reads no drive. It is here to show what outlives a call: a hash map, an
 * array, a table of constants, and variables of both kinds. Call it from an
 * application for each event, and look at the maps when you want to know:
 *
 *     outboard map dump programs/objects/tally.o amounts --call hex:...
 *
 * Arguments (16 bytes): struct tally_args.
 * Reply (32 bytes):     struct tally_reply.
 * Errors: -EINVAL   fewer than 16 bytes of arguments
 *         -E2BIG    a key that is new, and there are KEYS_MAX already; nothing
 *                   is counted then
 */
#include "dpu.h"

#define KEYS_MAX 100
#define SIZES 5

struct tally_args {
	__u64 key;
	__u64 amount;
};

struct tally_reply {
	__u64 total;  /* of the key, wrapping */
	__u64 times;  /* that the key came */
	__u64 ticket; /* a number that no other call of the instance got */
	__u32 size;   /* which of the sizes the amount is */
	__u32 calls;  /* counted so far, this one included */
};

struct sum {
	__u64 total;
	__u64 times;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KEYS_MAX);
	__type(key, __u64);
	__type(value, struct sum);
} amounts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIZES);
	__type(key, __u32);
	__type(value, __u64);
} sizes SEC(".maps");

/* Amounts below these are of the size, the last size is for all others. */
static const volatile __u64 below[SIZES - 1] = {10, 100, 1000, 10000};

static volatile __u64 next_ticket = 1000;
static volatile __u32 calls;

DPU_LIMITS(sizeof(struct tally_args), sizeof(struct tally_reply), 0, 0);

SEC("dpu/call") int tally(struct dpu_ctx *ctx)
{
	const struct tally_args *args = ctx->args;
	struct tally_reply *reply = ctx->reply;
	__u64 key = args->key;
	__u64 amount = args->amount;
	struct sum *sum;
	__u64 *count;
	__u32 size = 0;

	if (ctx->args_len < sizeof(*args))
		return -EINVAL;

	sum = bpf_map_lookup_elem(&amounts, &key);
	if (!sum) {
		struct sum none = {0};
		long err = bpf_map_update_elem(&amounts, &key, &none, BPF_NOEXIST);

		if (err)
			return (int)err;
		sum = bpf_map_lookup_elem(&amounts, &key);
	}
	if (!sum)
		return -EIO; /* it has just been put there */
	sum->total += amount;
	sum->times += 1;
	reply->total = sum->total;
	reply->times = sum->times;

	while (size < SIZES - 1 && amount >= below[size])
		size++;
	count = bpf_map_lookup_elem(&sizes, &size);
	if (count)
		*count += 1;
	reply->size = size;

	reply->ticket = next_ticket++;
	reply->calls = ++calls;
	return sizeof(*reply);
}
