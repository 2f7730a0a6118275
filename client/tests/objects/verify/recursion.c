// Calls itself.
#include "dpu.h"

DPU_LIMITS(8, 8, 0, 0);

static __attribute__((noinline)) int depth(__u64 n)
{
	if (n == 0)
		return 0;
	int below = depth(n / 2);
	return below < 60 ? below + 1 : 60;
}

SEC("dpu/call") int levels(struct dpu_ctx *ctx)
{
	const __u64 *n = ctx->args;
	*(__u64 *)ctx->reply = depth(*n);
	return 8;
}
