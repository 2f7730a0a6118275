/* Looks 64 keys up in a page of sorted keys, as a B-tree's page is searched. */
#define NAME page_search
#define BYTES 4096
#include "engine.h"

#define KEYS_MAX 255
#define LOOKUPS 64

struct page {
	__u32 count;
	__u32 kind;
	__u64 keys[KEYS_MAX];
	__u64 values[KEYS_MAX];
	__u64 next;
};
_Static_assert(sizeof(struct page) == BYTES, "a page is a page");

static __always_inline __u64 work(const __u8 *bytes, __u64 key)
{
	const struct page *page = (const struct page *)bytes;
	__u64 sum = 0;
	__u32 count = page->count;

	if (count > KEYS_MAX)
		count = KEYS_MAX;
	for (__u32 i = 0; i < LOOKUPS; i++) {
		__u32 low = 0, high = count;

		while (low < high) {
			__u32 middle = (low + high) / 2;

			if (page->keys[middle] < key)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < KEYS_MAX)
			sum += page->values[low];
		sum += low;
		key = key * 6364136223846793005ull + 1442695040888963407ull;
	}
	return sum;
}
