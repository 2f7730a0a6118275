// Takes a number that the drive sent for an address, and tests it for NULL only.
#include "dpu.h"

struct node {
	struct node *next;
	__u64 value;
};

static struct node node DPU_SCRATCH;
DPU_LIMITS(8, 8, 0, 1);

SEC("dpu/call") int follow(struct dpu_ctx *ctx)
{
	const __u64 *offset = ctx->args;
	long err = dpu_read(0, *offset, &node, sizeof(node));
	if (err)
		return err;
	if (node.next == NULL)
		return -ENOENT;
	*(__u64 *)ctx->reply = node.next->value;
	return 8;
}
