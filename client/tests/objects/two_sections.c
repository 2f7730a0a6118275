/* Scratch of both kinds, static and global functions in .text, an entry in its own section. */
typedef unsigned int __u32;
typedef unsigned long long __u64;
#define SEC(name) __attribute__((section(name), used))
#define SCRATCH __attribute__((section(".scratch"), aligned(4096)))
#define SCRATCH_ZERO __attribute__((section(".scratch.zero"), aligned(8)))

struct dpu_ctx { const void *args; void *reply; };
const __u32 limits[8] SEC("dpu.limits") = { 1, 16, 8, 0, 1 };
static long (*const dpu_read)(__u32, __u64, void *, __u32) = (void *)0x1000;

static char block[520] SCRATCH;
static __u64 count SCRATCH_ZERO;

static __attribute__((noinline)) int fetch(__u64 at)
{
	return dpu_read(0, at, block, 512);
}

__attribute__((noinline)) int fetch_third(__u64 at)
{
	count++;
	return fetch(at * 3);
}

SEC("dpu/call") int first_words(struct dpu_ctx *ctx)
{
	const __u64 *at = ctx->args;
	int error = fetch(at[0]) + fetch_third(at[1]);

	if (error)
		return error;
	*(__u64 *)ctx->reply = *(__u64 *)(block + 16) + count;
	return 8;
}
