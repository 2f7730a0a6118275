/*
 * filter_scan.c - count and add up the records of a scan whose key lies in a range.
 *
 * Data is an array of records of 16 bytes: a key and a value. The loop compares the end of the
 * record with the end of the data before it looks at it, in the words `p + 16 <= end`: written so,
 * no access in it is checked when it runs.
 *
 * Arguments (16 bytes): the least key and the greatest, both included.
 * Reply (16 bytes), from dpu/finish: how many records, and the sum of their values.
 */
#include "dpu.h"

struct range {
	__u64 least;
	__u64 greatest;
};

struct record {
	__u64 key;
	__u64 value;
};

static struct {
	__u64 count;
	__u64 sum;
} found DPU_SCRATCH_ZERO;

DPU_LIMITS(sizeof(struct range), 16, 512, 1);

SEC("dpu/scan") int filter(struct dpu_ctx *ctx)
{
	const struct range *range = ctx->args;
	const char *p = ctx->data;
	const char *end = ctx->data_end;
	__u64 least = range->least, greatest = range->greatest;
	__u64 count = 0, sum = 0;

	for (; p + sizeof(struct record) <= end; p += sizeof(struct record)) {
		const struct record *record = (const void *)p;

		if (record->key >= least && record->key <= greatest) {
			count++;
			sum += record->value;
		}
	}
	found.count += count;
	found.sum += sum;
	return 0;
}

SEC("dpu/finish") int total(struct dpu_ctx *ctx)
{
	__u64 *reply = ctx->reply;

	reply[0] = found.count;
	reply[1] = found.sum;
	return 16;
}
