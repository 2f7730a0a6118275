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
	return 0;
}
