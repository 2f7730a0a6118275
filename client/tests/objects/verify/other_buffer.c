// Compares an address with the end of another buffer.
#include "dpu.h"

DPU_LIMITS(64, 64, 0, 0);

SEC("dpu/call") int copy(struct dpu_ctx *ctx)
{
	const __u8 *from = ctx->args;
	__u8 *to = ctx->reply;
	const __u8 *end = to + 64;
	while (from < end)
		*to++ = *from++;
	return 64;
}
