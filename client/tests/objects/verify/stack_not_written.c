// Gives a helper a struct of which one field was never written.
#include "dpu.h"

struct key {
	__u32 table;
	__u32 column;
	__u64 row;
};

DPU_LIMITS(8, 8, 0, 0);

SEC("dpu/call") int checksum(struct dpu_ctx *ctx)
{
	const __u64 *row = ctx->args;
	struct key key;
	key.table = 7;
	key.row = *row;
	*(__u32 *)ctx->reply = dpu_crc32c(0, &key, sizeof(key));
	return 4;
}
