// Lets the caller say how much of a buffer on the stack is used.
#include "dpu.h"

DPU_LIMITS(80, 8, 0, 0);

SEC("dpu/call") int sum(struct dpu_ctx *ctx)
{
	const __u32 *args = ctx->args;
	char text[64] = {0};
	dpu_memcpy(text, args + 1, args[0]);
	*(__u32 *)ctx->reply = dpu_crc32c(0, text, sizeof(text));
	return 4;
}
