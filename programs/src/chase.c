/*
 * chase.c - follow a chain of offsets through an object.
 *
 * The plainest program that could not be a plain read: every read says where
 * the next one is, so a client that did it by itself would pay one round trip
 * for each hop. That makes it the ruler of the house: with hops = 0 it is the
 * cost of a call and nothing else, and the slope over hops is the cost of a
 * dependent read on the DPU.
 *
 * The object is an array of cells of `stride` bytes. A cell begins with the
 * offset of the next cell, a little-endian __u64; the rest of it is read along
 * and ignored, so that blocks of any size up to CELL_MAX can be measured.
 *
 * Arguments (16 bytes): struct chase_args.
 * Reply (16 bytes):     struct chase_reply.
 * Errors: -EINVAL   fewer than 16 bytes of arguments, or stride not 8..4096
 *         -ERANGE   the chain leaves the object
 *         and what else dpu_read() returns.
 *
 * There is no limit on hops here: the read budget of the instance is one.
 */
#include "dpu.h"

#define CELL_MAX 4096

struct chase_args {
	__u64 start;  /* offset of the first cell */
	__u32 hops;   /* how many cells to read */
	__u32 stride; /* bytes of a cell */
};

struct chase_reply {
	__u64 offset; /* where the chain stands after the last hop */
	__u64 sum;    /* of the offsets read, wrapping: proof of the way */
};

static union {
	__u8 bytes[CELL_MAX];
	__u64 next;
} cell DPU_SCRATCH;

DPU_LIMITS(sizeof(struct chase_args), sizeof(struct chase_reply), 0, 1);

SEC("dpu/call") int chase(struct dpu_ctx *ctx)
{
	const struct chase_args *args = ctx->args;
	struct chase_reply *reply = ctx->reply;
	__u64 offset = args->start;
	__u64 sum = 0;
	__u32 hops = args->hops;
	__u32 stride = args->stride;

	if (ctx->args_len < sizeof(*args))
		return -EINVAL;
	if (stride < sizeof(__u64) || stride > CELL_MAX)
		return -EINVAL;

	for (; hops > 0; hops--) {
		long err = dpu_read(0, offset, &cell, stride);
		if (err)
			return (int)err;
		offset = cell.next;
		sum += offset;
	}
	reply->offset = offset;
	reply->sum = sum;
	return sizeof(*reply);
}
