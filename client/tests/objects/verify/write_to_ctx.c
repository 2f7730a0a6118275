// Counts in its context, which is for reading.
#include "dpu.h"

DPU_LIMITS(8, 8, 0, 0);

SEC("dpu/call") int count(struct dpu_ctx *ctx)
{
	ctx->flags += 1;
	return 0;
}
