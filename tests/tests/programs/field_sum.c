/*
 * field_sum.c - add up one field of the records of a scan, by index and length.
 *
 * The other way to write such a loop: the length of the data is its end less its start, and an
 * index is compared with it.
 *
 * Arguments (4 bytes): the field's offset in a record of 24 bytes, 0 to 20.
 * Reply (8 bytes), from dpu/finish: the sum.
 * Errors: none; a field that is not in the record counts as the first.
 */
#include "dpu.h"

#define RECORD_BYTES 24

static __u64 sum DPU_SCRATCH_ZERO;

DPU_LIMITS(4, 8, 512, 1);

SEC("dpu/scan") int add(struct dpu_ctx *ctx)
{
	const char *data = ctx->data;
	__u64 length = (const char *)ctx->data_end - data;
	__u64 offset = *(const __u32 *)ctx->args;
	__u64 at, all = 0;

	if (offset > RECORD_BYTES - 4)
		offset = 0;
	for (at = 0; at + RECORD_BYTES <= length; at += RECORD_BYTES)
		all += *(const __u32 *)(data + at + offset);
	sum += all;
	return 0;
}

SEC("dpu/finish") int total(struct dpu_ctx *ctx)
{
	*(__u64 *)ctx->reply = sum;
	return 8;
}
