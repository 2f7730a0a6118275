// Two entries, each with a mistake of its own, and one that is right.
#include "dpu.h"

static __u64 total DPU_SCRATCH_ZERO;
DPU_LIMITS(8, 8, 512, 0);

SEC("dpu/call") int get(struct dpu_ctx *ctx)
{
	*(__u64 *)ctx->reply = ctx->objects;
	return 8;
}

SEC("dpu/scan") int add(struct dpu_ctx *ctx)
{
	const __u64 *args = ctx->args;
	if (ctx->flags & DPU_SCAN_FIRST)
		total = args[1];
	return 0;
}

SEC("dpu/finish") int finish(struct dpu_ctx *ctx)
{
	__u64 *reply = ctx->reply;
	reply[0] = total;
	reply[1] = ctx->offset;
	return 16;
}
