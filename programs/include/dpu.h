/*
 * dpu.h - what a program that runs beside the drive is written against.
 *
 * A program is a C function that Outboard runs on the DPU, next to the NVMe
 * drive, when a client calls it. It gets arguments, reads the drive as often
 * as it has to, and sends one reply: many dependent reads, one round trip.
 *
 *     #include "dpu.h"
 *
 *     static char block[512] DPU_SCRATCH;
 *     DPU_LIMITS(8, 8, 0, 1);               // args, reply, scan unit, objects
 *
 *     SEC("dpu/call") int first_word(struct dpu_ctx *ctx)
 *     {
 *         const __u64 *offset = ctx->args;
 *         long err = dpu_read(0, *offset, block, sizeof(block));
 *         if (err)
 *             return err;                   // -errno goes to the caller
 *         *(__u64 *)ctx->reply = *(__u64 *)block;
 *         return 8;                         // so many bytes of the reply
 *     }
 *
 *     clang -target bpf -mcpu=v3 -O2 -g -c first_word.c -o first_word.o
 *
 * Straight-line code: dpu_read() returns when the data is there. Meanwhile the
 * DPU runs other people's programs; yours is suspended, with all its registers
 * and its stack, and needs no callback and no state machine.
 *
 * MEMORY. These are all the bytes a program can touch:
 *
 *     what             rights       size
 *     ctx              read         struct dpu_ctx below
 *     ctx->args        read         args_max of DPU_LIMITS; what the caller did
 *                                   not send reads as zero
 *     ctx->reply       read, write  reply_max of DPU_LIMITS; undefined at entry
 *     ctx->data        read         scans only, up to ctx->data_end
 *     DPU_SCRATCH      read, write  your page-aligned buffers: the only place
 *                                   the drive is read to. Undefined at entry
 *     DPU_SCRATCH_ZERO read, write  the same, at most 4 KiB, zero at entry
 *     the stack        read, write  512 bytes a function, calls nest 8 deep
 *     const variables  read         with the values that the source gives
 *     other variables  read, write  the same, or zero, when the program is
 *                                   attached: see GLOBALS AND MAPS
 *     values of maps   read, write  where bpf_map_lookup_elem() says
 *
 * An access outside of them ends the program and names the instruction; it
 * never reaches another program's bytes.
 *
 * GLOBALS AND MAPS belong to the instance: they are as the source has them when
 * a client attaches the program, all its calls share them, its client may look
 * at them and set them (`outboard map`), and they end with it. Nothing of them
 * is on the drive. Calls of one instance take turns, at loops, at calls of
 * functions and while they wait for a read; between two such places nobody else
 * gets at them, so `counter++` is whole, and what is looked up before a
 * dpu_read() may have changed after it. All of an instance together may take
 * 256 KiB. A variable that starts as an address of something is refused.
 *
 * RESULT. The int an entry returns: >= 0 is how many bytes of the reply go to
 * the caller; -4095..-1 is an errno that the caller sees; anything else is
 * reported as a bad result.
 *
 * TIME. Loops need no bound that anybody can prove: every instruction is paid
 * from a budget that the instance was given, every read from another, and a
 * program that runs out is stopped with a status that says so.
 *
 * COMPILER. clang 11 or newer, -mcpu=v3. clang 14 knows no -mcpu=v4 and
 * crashes on signed division: divide unsigned numbers.
 *
 * Everything is little-endian, and pointers are 64 bits.
 */
#ifndef DPU_H
#define DPU_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;

#ifndef NULL
#define NULL ((void *)0)
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* ------------------------------------------------------------------ entries */

/*
 * Puts a function where the loader looks for it. Each entry at most once:
 *
 *     SEC("dpu/call")    run once for a call, answers with the reply
 *     SEC("dpu/scan")    run for each run of blocks of a scan: 0 go on, 1 stop
 *     SEC("dpu/finish")  run once after the last dpu/scan
 */
#define SEC(name) __attribute__((section(name), used))

/* What r1 points to at every entry. */
struct dpu_ctx {
	const void *args;     /*  0: the caller's arguments, args_max bytes */
	void *reply;          /*  8: what goes back, reply_max bytes */
	const void *data;     /* 16: scan: the blocks at hand */
	const void *data_end; /* 24: scan: one past them */
	__u64 offset;         /* 32: scan: where data stands in the object */
	__u32 args_len;       /* 40: how many bytes of arguments were sent */
	__u32 reply_max;      /* 44: how many bytes the reply can hold */
	__u32 flags;          /* 48: scan: DPU_SCAN_* */
	__u32 objects;        /* 52: how many objects are attached */
	__u64 reserved;       /* 56: zero */
};
_Static_assert(sizeof(struct dpu_ctx) == 64, "pointers of 64 bits are assumed");

#define DPU_SCAN_FIRST 1u /* nothing of the range came before */
#define DPU_SCAN_LAST 2u  /* nothing of the range follows */

/* --------------------------------------------------------- what it declares */

#define DPU_ABI 1u

/* What DPU_LIMITS writes into section "dpu.limits" of the object. */
struct dpu_limits {
	__u32 abi;
	__u32 args_max;
	__u32 reply_max;
	__u32 scan_unit;
	__u32 objects;
	__u32 reserved[3];
};

/*
 * Once per program: what it asks for.
 *
 *     args_max   bytes of arguments it can take, at most 4096
 *     reply_max  bytes of reply it can give, at most 65536
 *     scan_unit  with dpu/scan: data comes in multiples of it, 512..65536,
 *                a power of two; else 0
 *     objects    how many objects must be attached, at most 8: dpu_read(0, ..)
 *                to dpu_read(objects - 1, ..)
 */
#define DPU_LIMITS(args_max, reply_max, scan_unit, objects)                    \
	const struct dpu_limits dpu_limits SEC("dpu.limits") = {               \
		DPU_ABI, (args_max), (reply_max), (scan_unit), (objects), {0}  \
	}

/*
 * On a global variable: it lives in scratch memory. Start none with a value.
 * Each is aligned to 4096 bytes, so put what is small into one struct.
 * Scratch comes in pieces of 4, 16 and 80 KiB: of 4097 bytes you pay 16 KiB.
 */
#ifndef DPU_NATIVE
#define DPU_SCRATCH __attribute__((section(".scratch"), aligned(4096)))
#else /* the address sanitizer does not watch variables aligned that much */
#define DPU_SCRATCH __attribute__((aligned(16)))
#endif

/* The same, and zero whenever an entry starts (a scan: its first one). */
#define DPU_SCRATCH_ZERO __attribute__((section(".scratch.zero"), aligned(8)))

/* -------------------------------------------------------------------- maps */

/*
 * A map is declared as for Linux, and named by its address:
 *
 *     struct {
 *         __uint(type, BPF_MAP_TYPE_HASH);
 *         __uint(max_entries, 1000);
 *         __type(key, __u64);
 *         __type(value, struct counters);
 *     } per_user SEC(".maps");
 *
 *     struct counters *c = bpf_map_lookup_elem(&per_user, &user);
 *
 * At most 16, with the sections of variables; keys of at most 512 bytes. There
 * are no per-CPU maps, ring buffers or maps in maps. Compile with -g: the types
 * are taken from BTF.
 */
#define __uint(name, number) int (*name)[number]
#define __type(name, type) __typeof__(type) *name

#define BPF_MAP_TYPE_HASH 1     /* any keys; full is full */
#define BPF_MAP_TYPE_ARRAY 2    /* keys are __u32 below max_entries, all there */
#define BPF_MAP_TYPE_LRU_HASH 9 /* any keys; what was used longest ago goes */

/* In __uint(map_flags, ..): */
#define BPF_F_NO_PREALLOC 1u   /* of no effect: memory is there from the start */
#define BPF_F_RDONLY_PROG 128u /* the program only reads it; its client may set it */

/* Flags of bpf_map_update_elem(). */
#define BPF_ANY 0     /* whether or not there is an entry of the key */
#define BPF_NOEXIST 1 /* only if there is none */
#define BPF_EXIST 2   /* only if there is one */

/* ------------------------------------------------------------------ helpers */

/* One read of a dpu_readv(). */
struct dpu_vec {
	__u32 object;
	__u32 len;
	__u64 offset;
	void *buf;
};
_Static_assert(sizeof(struct dpu_vec) == 24, "pointers of 64 bits are assumed");

#define DPU_READV_MAX 8 /* reads in one dpu_readv() */

/*
 * A helper is a function of the DPU, called by number. With DPU_NATIVE the
 * same names are ordinary functions, so that a program can be compiled for the
 * machine at hand and tested there, under a sanitizer or in a debugger.
 */
#ifdef DPU_NATIVE
#define DPU_HELPER(number, result, name, arguments) extern result name arguments
#else
#define DPU_HELPER(number, result, name, arguments)                            \
	static result (*const name) arguments __attribute__((unused)) =        \
		(void *)(number)
#endif

/*
 * dpu_read - read len bytes at offset of an object into scratch.
 *
 * Offsets and lengths are bytes and may be anything; multiples of the drive's
 * block are fastest. What a file holds may change between two reads.
 *
 *     0        buf holds the data
 *     -EBADF   no such object
 *     -ERANGE  not all of the range is inside the object
 *     -EFAULT  buf..buf + len is not all scratch
 *     -EIO     the drive could not read it
 */
DPU_HELPER(0x1000, long, dpu_read, (__u32 object, __u64 offset, void *buf, __u32 len));

/*
 * dpu_readv - n reads at once (n <= DPU_READV_MAX), in no particular order:
 * fan-out costs one wait. Errors as dpu_read; -EINVAL: n too large. After an
 * error any of the buffers may have changed.
 */
DPU_HELPER(0x1001, long, dpu_readv, (const struct dpu_vec *vec, __u32 n));

/* dpu_size - how many bytes the object has, or -EBADF. */
DPU_HELPER(0x1008, __s64, dpu_size, (__u32 object));

/* dpu_memcmp - compares as memcmp does: < 0, 0 or > 0. */
DPU_HELPER(0x1009, long, dpu_memcmp, (const void *a, const void *b, __u32 len));

/* dpu_memcpy - copies len bytes, which may overlap. 0, or -EFAULT. */
DPU_HELPER(0x100a, long, dpu_memcpy, (void *dst, const void *src, __u32 len));

/* dpu_find - offset of the first needle in hay, or -ENOENT. */
DPU_HELPER(0x100b, __s64, dpu_find,
	   (const void *hay, __u32 hay_len, const void *needle, __u32 needle_len));

/* dpu_crc32c - CRC-32C (Castagnoli) of buf, going on from seed (0 at first). */
DPU_HELPER(0x100c, __u32, dpu_crc32c, (__u32 seed, const void *buf, __u32 len));

/*
 * bpf_map_lookup_elem - where the value of a key is, or NULL if there is none.
 *
 * Write to it as you like; it stays good until the program returns. But if the
 * entry is deleted meanwhile, or makes place for another in an LRU map, what is
 * there is another entry's value. A key that is no buffer is one without value.
 *
 * bpf_map_update_elem - put a value there.
 *
 *     0        it is there
 *     -EEXIST  BPF_NOEXIST, and there is one; in arrays always
 *     -ENOENT  BPF_EXIST, and there is none
 *     -E2BIG   the map is full; no such element of an array
 *     -EINVAL  flags that are none of the three
 *     -EFAULT  key or value is not all a buffer of the program
 *     -EPERM   a map with BPF_F_RDONLY_PROG
 *
 * bpf_map_delete_elem - take an entry out. -ENOENT: there is none; -EINVAL: the
 * elements of an array stay; -EFAULT and -EPERM as above.
 */
#ifndef DPU_NATIVE
DPU_HELPER(1, void *, bpf_map_lookup_elem, (const void *map, const void *key));
DPU_HELPER(2, long, bpf_map_update_elem,
	   (const void *map, const void *key, const void *value, __u64 flags));
DPU_HELPER(3, long, bpf_map_delete_elem, (const void *map, const void *key));
#else /* there are no maps by number, so what __uint and __type said goes along */
#define DPU_NATIVE_MAP(map)                                                    \
	(map), sizeof(*(map)->type) / sizeof(int), sizeof(*(map)->key),        \
		sizeof(*(map)->value), sizeof(*(map)->max_entries) / sizeof(int)
#define bpf_map_lookup_elem(map, key)                                          \
	dpu_native_lookup(DPU_NATIVE_MAP(map), key)
#define bpf_map_update_elem(map, key, value, flags)                            \
	dpu_native_update(DPU_NATIVE_MAP(map), key, value, flags)
#define bpf_map_delete_elem(map, key)                                          \
	dpu_native_delete(DPU_NATIVE_MAP(map), key)
extern void *dpu_native_lookup(const void *map, __u32 type, __u32 key_bytes,
			       __u32 value_bytes, __u32 max_entries, const void *key);
extern long dpu_native_update(const void *map, __u32 type, __u32 key_bytes,
			      __u32 value_bytes, __u32 max_entries, const void *key,
			      const void *value, __u64 flags);
extern long dpu_native_delete(const void *map, __u32 type, __u32 key_bytes,
			      __u32 value_bytes, __u32 max_entries, const void *key);
#endif

/* bpf_ktime_get_ns - monotonic: the time at which the DPU last let you run. */
DPU_HELPER(5, __u64, bpf_ktime_get_ns, (void));

/* bpf_get_prandom_u32 - a random number, not for secrets. */
DPU_HELPER(7, __u32, bpf_get_prandom_u32, (void));

/*
 * Kept for later and refused at load today: 0x1002 dpu_write, 0x1003
 * dpu_flush, 0x1004 dpu_append, 0x1005 dpu_lock, 0x1006 dpu_unlock, 0x1007
 * dpu_emit, 0x100d dpu_log.
 */

/* -------------------------------------------------------------- conveniences */

/*
 * dpu_clamp - the smaller of x and max, as one compare that stays in the code.
 *
 * Left to itself the compiler drops a check that it can prove, or checks one
 * copy of a number and uses another. A number that went through dpu_clamp() is
 * plainly bounded, for whoever reads the code and for the DPU.
 */
static __always_inline __u64 dpu_clamp(__u64 x, __u64 max)
{
	__asm__ volatile("" : "+r"(x));
	return x < max ? x : max;
}

/* Big-endian numbers, as file formats like them. */
static __always_inline __u16 dpu_be16(__u16 x) { return __builtin_bswap16(x); }
static __always_inline __u32 dpu_be32(__u32 x) { return __builtin_bswap32(x); }
static __always_inline __u64 dpu_be64(__u64 x) { return __builtin_bswap64(x); }

/* Numbers at any address, aligned or not, byte by byte. */
static __always_inline __u16 dpu_load_be16(const void *p)
{
	const __u8 *b = p;
	return (__u16)(b[0] << 8 | b[1]);
}

static __always_inline __u32 dpu_load_be32(const void *p)
{
	const __u8 *b = p;
	return (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3];
}

static __always_inline __u64 dpu_load_be64(const void *p)
{
	return (__u64)dpu_load_be32(p) << 32 | dpu_load_be32((const __u8 *)p + 4);
}

static __always_inline __u16 dpu_load_le16(const void *p)
{
	const __u8 *b = p;
	return (__u16)(b[1] << 8 | b[0]);
}

static __always_inline __u32 dpu_load_le32(const void *p)
{
	const __u8 *b = p;
	return (__u32)b[3] << 24 | (__u32)b[2] << 16 | (__u32)b[1] << 8 | b[0];
}

static __always_inline __u64 dpu_load_le64(const void *p)
{
	return (__u64)dpu_load_le32((const __u8 *)p + 4) << 32 | dpu_load_le32(p);
}

/* Error numbers, as Linux counts them. Return them negative. */
#ifndef ENOENT
#define EPERM 1
#define ENOENT 2
#define EIO 5
#define E2BIG 7
#define EBADF 9
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define EINVAL 22
#define EFBIG 27
#define ENOSPC 28
#define EROFS 30
#define EDOM 33
#define ERANGE 34
#define EDEADLK 35
#define ENOSYS 38
#define ELOOP 40
#define ENODATA 61
#define EPROTO 71
#define EBADMSG 74
#define EOVERFLOW 75
#define EMSGSIZE 90
#define ENOTSUP 95
#define ESTALE 116
#define EUCLEAN 117
#define EDQUOT 122
#define EMEDIUMTYPE 124
#define ECANCELED 125
#define ENOKEY 126
#endif

#endif /* DPU_H */
