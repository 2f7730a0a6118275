// Writes 8 bytes behind a reply of 8.
#include "dpu.h"

DPU_LIMITS(8, 8, 0, 0);

SEC("dpu/call") int answer(struct dpu_ctx *ctx)
{
	const __u64 *args = ctx->args;
	__u64 *reply = ctx->reply;
	reply[0] = args[0];
	reply[1] = args[0] + 1;
	return 16;
}
