// Reads the drive into the reply, where a device cannot write.
#include "dpu.h"

DPU_LIMITS(8, 512, 0, 1);

SEC("dpu/call") int fetch(struct dpu_ctx *ctx)
{
	long err = dpu_read(0, 0, ctx->reply, 512);
	return err ? err : 512;
}
