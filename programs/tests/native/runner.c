/*
 * runner.c - runs one of the programs on the machine at hand, for tests.
 *
 * The program's source is compiled into this one with DPU_NATIVE, so that the
 * helpers of dpu.h are the functions below, and with the sanitizers, so that an
 * access that would leave its region ends the process. Arguments, reply and
 * object are each an allocation of exactly the size that the program may see.
 *
 * Commands on standard input, numbers little-endian:
 *     'O' u64 n, n bytes          these bytes are object 0 from now on
 *     'C' u32 n, n bytes          call with these arguments
 * and what a call answers on standard output:
 *     i32 result, u32 reads, u32 n, n bytes of reply
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DPU_NATIVE
#include PROGRAM

#define READS_MAX 100000 /* a call that reads more does not end by itself */

static __u8 *object;
static __u64 object_len;
static __u32 reads;

long dpu_read(__u32 number, __u64 offset, void *buf, __u32 len)
{
	if (++reads > READS_MAX)
		abort();
	if (number != 0)
		return -EBADF;
	if (offset > object_len || len > object_len - offset)
		return -ERANGE;
	memcpy(buf, object + offset, len);
	return 0;
}

__s64 dpu_size(__u32 number)
{
	return number == 0 ? (__s64)object_len : -EBADF;
}

long dpu_memcpy(void *dst, const void *src, __u32 len)
{
	memmove(dst, src, len);
	return 0;
}

__u32 dpu_crc32c(__u32 seed, const void *buf, __u32 len)
{
	const __u8 *byte = buf;
	__u32 crc = ~seed;

	for (; len > 0; len--, byte++) {
		crc ^= *byte;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/*
 * Maps, as plain as can be: every value is an allocation of its own, so that
 * the sanitizer sees who leaves one, or uses one that was deleted.
 */
struct entry {
	struct entry *next; /* used before this one */
	const void *map;
	void *key;
	void *value;
};

static struct entry *entries; /* of all maps, the one used last first */

static struct entry **find(const void *map, __u32 key_bytes, const void *key)
{
	struct entry **at = &entries;

	while (*at && ((*at)->map != map || memcmp((*at)->key, key, key_bytes) != 0))
		at = &(*at)->next;
	return at;
}

static void forget(struct entry **at)
{
	struct entry *gone = *at;

	*at = gone->next;
	free(gone->key);
	free(gone->value);
	free(gone);
}

static void *put(const void *map, __u32 key_bytes, __u32 value_bytes, const void *key)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (entry == NULL)
		exit(3);
	entry->map = map;
	entry->key = malloc(key_bytes);
	entry->value = calloc(1, value_bytes);
	if (entry->key == NULL || entry->value == NULL)
		exit(3);
	memcpy(entry->key, key, key_bytes);
	entry->next = entries;
	entries = entry;
	return entry->value;
}

static int is_outside(__u32 type, __u32 max_entries, const void *key)
{
	__u32 index = 0;

	if (type != BPF_MAP_TYPE_ARRAY)
		return 0;
	memcpy(&index, key, sizeof(index));
	return index >= max_entries;
}

void *dpu_native_lookup(const void *map, __u32 type, __u32 key_bytes, __u32 value_bytes,
			__u32 max_entries, const void *key)
{
	struct entry **at = find(map, key_bytes, key);
	struct entry *entry = *at;

	if (is_outside(type, max_entries, key))
		return NULL;
	if (entry == NULL)
		return type == BPF_MAP_TYPE_ARRAY ? put(map, key_bytes, value_bytes, key) : NULL;
	*at = entry->next;
	entry->next = entries;
	entries = entry;
	return entry->value;
}

long dpu_native_update(const void *map, __u32 type, __u32 key_bytes, __u32 value_bytes,
		       __u32 max_entries, const void *key, const void *value, __u64 flags)
{
	void *place = NULL;
	__u32 count = 0;

	if (flags > BPF_EXIST)
		return -EINVAL;
	if (is_outside(type, max_entries, key))
		return -E2BIG;
	if (type == BPF_MAP_TYPE_ARRAY || *find(map, key_bytes, key) != NULL) {
		if (flags == BPF_NOEXIST)
			return -EEXIST;
		place = dpu_native_lookup(map, type, key_bytes, value_bytes, max_entries, key);
	} else {
		struct entry **oldest = NULL;

		if (flags == BPF_EXIST)
			return -ENOENT;
		for (struct entry **at = &entries; *at; at = &(*at)->next) {
			if ((*at)->map == map) {
				oldest = at;
				count++;
			}
		}
		if (count == max_entries && type != BPF_MAP_TYPE_LRU_HASH)
			return -E2BIG;
		if (count == max_entries)
			forget(oldest);
		place = put(map, key_bytes, value_bytes, key);
	}
	memmove(place, value, value_bytes);
	return 0;
}

long dpu_native_delete(const void *map, __u32 type, __u32 key_bytes, __u32 value_bytes,
		       __u32 max_entries, const void *key)
{
	struct entry **at = find(map, key_bytes, key);

	(void)value_bytes;
	(void)max_entries;
	if (type == BPF_MAP_TYPE_ARRAY)
		return -EINVAL;
	if (*at == NULL)
		return -ENOENT;
	forget(at);
	return 0;
}

static void take(void *to, size_t len)
{
	if (len > 0 && fread(to, 1, len, stdin) != len)
		exit(2);
}

static void call(void)
{
	struct dpu_ctx ctx = {0};
	__u32 len, shown;
	__s32 result;
	__u8 *args = calloc(1, dpu_limits.args_max);
	__u8 *reply = calloc(1, dpu_limits.reply_max);

	take(&len, sizeof(len));
	if (args == NULL || reply == NULL || len > dpu_limits.args_max)
		exit(3);
	take(args, len);
	ctx.args = args;
	ctx.reply = reply;
	ctx.args_len = len;
	ctx.reply_max = dpu_limits.reply_max;
	ctx.objects = dpu_limits.objects;
	reads = 0;
	result = ENTRY(&ctx);
	if (result > (__s32)dpu_limits.reply_max || result < -4095)
		abort(); /* no program may answer this */
	shown = result > 0 ? (__u32)result : 0;
	fwrite(&result, sizeof(result), 1, stdout);
	fwrite(&reads, sizeof(reads), 1, stdout);
	fwrite(&shown, sizeof(shown), 1, stdout);
	fwrite(reply, 1, shown, stdout);
	fflush(stdout);
	free(args);
	free(reply);
}

int main(void)
{
	for (int command; (command = getchar()) != EOF;) {
		if (command == 'C') {
			call();
			continue;
		}
		free(object);
		take(&object_len, sizeof(object_len));
		object = malloc(object_len ? object_len : 1);
		if (object == NULL)
			exit(3);
		take(object, object_len);
	}
	free(object);
	while (entries)
		forget(&entries);
	return 0;
}
