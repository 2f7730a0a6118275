// Accepted, all of it proved: the same with the offset held to the block.
#include "dpu.h"

static struct {
	__u32 first;
	__u8 bytes[4092];
} block DPU_SCRATCH;
DPU_LIMITS(8, 8, 0, 1);

SEC("dpu/call") int get(struct dpu_ctx *ctx)
{
	const __u64 *offset = ctx->args;
	long err = dpu_read(0, *offset, &block, sizeof(block));
	if (err)
		return err;
	*(__u8 *)ctx->reply = block.bytes[dpu_clamp(block.first, 4091)];
	return 1;
}
