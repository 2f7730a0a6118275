/*
 * out_of_bounds.c - does what a program must not: the test of the tests.
 *
 * The first byte of the arguments says which region to leave by one byte.
 */
#include "dpu.h"

static __u8 buffer[64] DPU_SCRATCH;

DPU_LIMITS(8, 8, 0, 1);

SEC("dpu/call") int out_of_bounds(struct dpu_ctx *ctx)
{
	const __u8 *args = ctx->args;
	__u8 *reply = ctx->reply;

	switch (args[0]) {
	case 1:
		return args[dpu_clamp(ctx->args_len, 8)] & 1;
	case 2:
		reply[dpu_clamp(ctx->args_len, 8)] = 1;
		return 1;
	case 3:
		return buffer[dpu_clamp(ctx->args_len * 8, 64)];
	case 4:
		dpu_read(0, 0, buffer + 1, sizeof(buffer));
		return 1;
	default:
		return 8;
	}
}
