/*
 * engine.h - what makes one C function a workload of `host-sim bench engine`.
 *
 * A workload is a function
 *
 *     static __always_inline __u64 work(const __u8 *bytes, __u64 key)
 *
 * over BYTES bytes and a number that varies from run to run. It is compiled
 *
 *     natively      as  __u64 NAME(const __u8 *bytes, __u64 key)
 *     for Outboard  as  a program: bytes are scratch, the key is the arguments,
 *                       the result is the reply; a client could upload it
 *     -DRAW         as  BPF whose r1 points to the key and the bytes behind it
 *     -DKERNEL      as  BPF for Linux: key, result and bytes in an array map
 *     for wasm32    as  exports: bytes(), which says where they are, and run()
 */
#ifndef ENGINE_H
#define ENGINE_H

#if defined(__bpf__) && !defined(RAW) && !defined(KERNEL)
#include "dpu.h"
#else
typedef unsigned char __u8;
typedef unsigned int __u32;
typedef unsigned long long __u64;
#define __always_inline inline __attribute__((always_inline))
#endif

#define CONCAT2(a, b) a##b
#define CONCAT(a, b) CONCAT2(a, b)

static __always_inline __u64 work(const __u8 *bytes, __u64 key);

#if defined(RAW)

struct input {
	__u64 key;
	__u8 bytes[BYTES];
};

__attribute__((section("text.raw"), used)) __u64 raw(const struct input *input)
{
	return work(input->bytes, input->key);
}

#elif defined(KERNEL)

struct value {
	__u64 key;
	__u64 result;
	__u8 bytes[BYTES];
};

/* The loader finds the load of this number and makes it the map's address. */
__attribute__((section("text.kernel"), used)) int kernel(void *ctx)
{
	struct value *value;

	(void)ctx;
	__asm__ volatile("%0 = 0x6d61702d76616c75 ll" : "=r"(value));
	value->result = work(value->bytes, value->key);
	return 0;
}

#elif defined(__bpf__)

static __u8 bytes[BYTES] DPU_SCRATCH;
DPU_LIMITS(8, 8, 0, 0);

SEC("dpu/call") int call(struct dpu_ctx *ctx)
{
	const __u8 *data = bytes;

	/* Here a program would dpu_read(); the compiler must think that it did. */
	__asm__ volatile("" : "+r"(data) : : "memory");
	*(__u64 *)ctx->reply = work(data, *(const __u64 *)ctx->args);
	return 8;
}

#elif defined(__wasm__)

static __u8 memory[BYTES];

__attribute__((export_name("bytes"))) __u8 *bytes(void) { return memory; }
__attribute__((export_name("run"))) __u64 run(__u64 key) { return work(memory, key); }

#else

__u64 CONCAT(engine_, NAME)(const __u8 *bytes, __u64 key) { return work(bytes, key); }

#endif
#endif /* ENGINE_H */
