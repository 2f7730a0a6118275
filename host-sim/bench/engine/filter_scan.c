/* Adds up the values of those of 4096 records whose key is below a bound, as a scan's filter. */
#define NAME filter_scan
#define BYTES 65536
#include "engine.h"

struct record {
	__u32 key;
	__u32 tag;
	__u64 value;
};

static __always_inline __u64 work(const __u8 *bytes, __u64 key)
{
	const struct record *records = (const struct record *)bytes;
	__u64 sum = 0, found = 0;

	for (__u32 i = 0; i < BYTES / sizeof(struct record); i++) {
		if (records[i].key < (__u32)key) {
			sum += records[i].value;
			found++;
		}
	}
	return sum ^ found << 48;
}
