/* Decodes the variable-length numbers of a block, of one to nine bytes, as SQLite writes them. */
#define NAME varint
#define BYTES 4096
#include "engine.h"

#define LONGEST 9

static __always_inline __u64 work(const __u8 *bytes, __u64 key)
{
	__u64 sum = key;
	__u32 at = 0;

	while (at < BYTES - LONGEST) {
		__u32 end = at + LONGEST;
		__u64 number = 0;
		__u8 byte;

		do {
			byte = bytes[at++];
			number = number << 7 | (byte & 0x7f);
		} while (byte >= 0x80 && at < end);
		sum = (sum ^ number) * 0x9e3779b97f4a7c15ull;
	}
	return sum;
}
