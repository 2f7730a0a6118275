// Sends an address to the caller.
#include "dpu.h"

static char block[512] DPU_SCRATCH;
DPU_LIMITS(8, 16, 0, 1);

SEC("dpu/call") int where(struct dpu_ctx *ctx)
{
	void **reply = ctx->reply;
	long err = dpu_read(0, 0, block, sizeof(block));
	if (err)
		return err;
	reply[1] = block + 8;
	return 16;
}
