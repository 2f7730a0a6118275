// Reads the drive into an ordinary variable, block after block.
#include "dpu.h"

struct sum_args {
	__u64 offset, blocks;
};
static __u64 block[512];
DPU_LIMITS(sizeof(struct sum_args), 8, 0, 1);

SEC("dpu/call") int sum(struct dpu_ctx *ctx)
{
	const struct sum_args *args = ctx->args;
	__u64 total = 0;

	for (__u64 left = args->blocks, at = args->offset; left;) {
		__u64 n = dpu_clamp(left, 4);
		long err = dpu_read(0, at, block, n * 1024);
		if (err)
			return err;
		for (__u64 i = 0; i < n; i++)
			if (block[128 * i] > args->offset)
				total += block[128 * i];
		left -= n;
		at += n * 1024;
	}
	*(__u64 *)ctx->reply = total;
	return sizeof(total);
}
