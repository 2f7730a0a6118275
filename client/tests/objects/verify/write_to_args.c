// Swaps bytes where they are, in arguments that are for reading.
#include "dpu.h"

DPU_LIMITS(16, 8, 0, 0);

SEC("dpu/call") int swap(struct dpu_ctx *ctx)
{
	__u64 *args = (__u64 *)ctx->args;
	for (int i = 0; i < 2; i++)
		args[i] = dpu_be64(args[i]);
	return 0;
}
