/* Maps by BTF, and globals of three sections. */
typedef unsigned int __u32;
typedef unsigned long long __u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, n) int(*name)[n]
#define __type(name, t) typeof(t) *name

struct key { __u32 a; __u32 b[3]; };

struct {
	__uint(type, 1);
	__uint(max_entries, 100);
	__type(key, struct key);
	__type(value, __u64);
} table SEC(".maps");

struct {
	__uint(type, 2);
	__uint(max_entries, 7);
	__uint(key_size, 4);
	__uint(value_size, 12);
	__uint(map_flags, 128);
} slots SEC(".maps");

const __u32 limits[8] SEC("dpu.limits") = { 1, 4, 8, 512, 2 };
static void *(*const map_lookup)(void *, const void *) = (void *)1;

volatile __u64 zeroed;
volatile __u32 started[2] = { 5, 6 };
static const volatile __u32 fixed = 77;

SEC("dpu/scan") int scan(void *ctx)
{
	struct key key = { 1, { 2, 3, 4 } };
	__u32 slot = 2;
	__u64 *value = map_lookup(&table, &key);
	__u32 *other = map_lookup(&slots, &slot);

	zeroed++;
	return value && other ? started[1] + fixed : 0;
}

SEC("dpu/finish") int finish(void *ctx)
{
	return zeroed;
}
