/*
 * sqlite_get.c - one row of an unmodified SQLite 3 database, by its rowid.
 *
 * The object is the database file (its extents, or a drive it was copied to),
 * just as SQLite wrote it. A table is a B+tree of pages keyed by rowid; the
 * lookup walks it from the root page to the leaf and returns the record, still
 * in SQLite's record format: the caller takes the columns apart. A tree of
 * depth d costs d reads on the drive and one round trip on the network.
 *
 * HOW MANY READS. The page size stands in the file's first 100 bytes. A caller
 * that knows it (it does not change while the file lives, short of a VACUUM)
 * gives page_bytes and reserved_bytes, and the lookup is d reads. With
 * page_bytes = 0 the header is read and checked first: one read more.
 *
 * ROOT PAGE. `SELECT rootpage FROM sqlite_schema WHERE name = ?`. The schema is
 * itself a table, with root page 1 and rowids from 1 up, so this program can
 * read it too. An INTEGER PRIMARY KEY is the rowid; the record has NULL there.
 *
 * WHAT IT DOES NOT SEE. Changes that are in a rollback journal or in a
 * write-ahead log and not yet in the file. A database in WAL mode is refused
 * when the header is read, unless SQLITE_GET_WAL_OK says that whoever calls
 * has checkpointed it. Tables WITHOUT ROWID have another kind of tree: refused.
 *
 * The format, https://www.sqlite.org/fileformat2.html, as far as it is needed
 * here. Numbers are big-endian. Page n is at (n - 1) * page size; on page 1 the
 * tree starts behind the file header, at 100. A page has a header of 12 (inner)
 * or 8 (leaf) bytes: type, 2 unused, number of cells, 3 unused, inner: right-most
 * child. Behind it stands an array of 16-bit offsets of the cells, by ascending
 * rowid. Inner cell: child page (4 bytes), rowid (varint): all rowids up to this
 * one are below that child. Leaf cell: length of the record (varint), rowid
 * (varint), record; of one too long for the page only the start, then the number
 * of the first overflow page, each of which begins with the number of the next.
 *
 * TRUST. Any byte of the file may be wrong. Every offset taken from a page is
 * checked against the page, then masked to the buffer. The mask is not what
 * makes the answer right, it is what makes it obvious that no access can leave
 * the buffer. The walk ends after DEPTH_MAX pages, a chain of overflow pages
 * when the length of the record is used up.
 *
 * Arguments: struct sqlite_get_args, of which all behind root_page may be left
 * out. Reply: the record, the result is its length. Errors:
 *
 *     -ENOENT       the table has no such rowid
 *     -EMSGSIZE     the record is longer than the reply can hold
 *     -EINVAL       arguments: too few, unknown flags, root page 0, a page size
 *                   that is none, more than 255 reserved bytes (or so many that
 *                   less than 480 of the page are left)
 *     -EFBIG        pages larger than PAGE_MAX: take the other object
 *     -EMEDIUMTYPE  not a SQLite 3 database
 *     -ENOKEY       encrypted: noise throughout, or a SQLite header whose magic
 *                   is hidden
 *     -ENODATA      truncated: the object ends before a page that is needed
 *     -ENOTSUP      a database this cannot read right: WAL mode, a file format
 *                   newer than 2, or a root page of an index or WITHOUT ROWID
 *                   table
 *     -EUCLEAN      a damaged file, or a root page that is none
 *     and what else dpu_read() returns.
 *
 * Built twice: sqlite_get.o for pages up to 4 KiB, in 4 KiB of scratch, and
 * sqlite_get_64k.o for all, with -DPAGE_MAX=65536.
 */
#include "dpu.h"

#ifndef PAGE_MAX
#define PAGE_MAX 4096
#endif

/* Records are as long as they like; a reply must be paid for by every call. */
#if PAGE_MAX > 4096
#define REPLY_MAX 65536
#else
#define REPLY_MAX 16384
#endif

#define PAGE_MIN 512
#define RESERVED_MAX 255
#define USABLE_MIN 480
#define DEPTH_MAX 20 /* SQLite's own limit */
#define RECORD_MAX 0x7fffffffu

#define FILE_HEADER 100
#define INNER_HEADER 12
#define LEAF_HEADER 8

#define TYPE_INNER_INDEX 0x02
#define TYPE_INNER_TABLE 0x05
#define TYPE_LEAF_INDEX 0x0a
#define TYPE_LEAF_TABLE 0x0d

#define SQLITE_GET_WAL_OK 1u

struct sqlite_get_args {
	__s64 rowid;
	__u32 root_page;
	__u32 page_bytes;     /* 0: read it from the file's header */
	__u32 reserved_bytes; /* byte 20 of the header; only with page_bytes */
	__u32 flags;          /* SQLITE_GET_* */
};

/* What must be known of a database to find a page in it. */
struct shape {
	__u32 page_bytes;
	__u32 usable; /* page_bytes without the reserved tail */
	__u32 pages;  /* in the whole file, 0 if not known */
};

static union {
	__u8 bytes[PAGE_MAX];
	__u16 halves[PAGE_MAX / 2];
} page DPU_SCRATCH;

DPU_LIMITS(sizeof(struct sqlite_get_args), REPLY_MAX, 0, 1);

static __always_inline __u8 byte_at(__u32 at)
{
	return page.bytes[at & (PAGE_MAX - 1)];
}

/* `at` is even. */
static __always_inline __u32 u16_at(__u32 at)
{
	return dpu_be16(page.halves[at / 2 & (PAGE_MAX / 2 - 1)]);
}

static __always_inline __u32 u32_at(__u32 at)
{
	return (__u32)byte_at(at) << 24 | (__u32)byte_at(at + 1) << 16 |
	       (__u32)byte_at(at + 2) << 8 | byte_at(at + 3);
}

/*
 * The varint at *at, and *at moves behind it: seven bits a byte, the highest
 * first, the top bit set on all but the last; a ninth byte counts whole.
 */
static __always_inline __u64 varint_at(__u32 *at)
{
	__u8 byte = byte_at((*at)++);
	__u64 value = byte & 0x7f;

	if (!(byte & 0x80))
		return value;
#pragma clang loop unroll(disable)
	for (__u32 i = 1; i < 8; i++) {
		byte = byte_at((*at)++);
		value = value << 7 | (byte & 0x7f);
		if (!(byte & 0x80))
			return value;
	}
	return value << 8 | byte_at((*at)++);
}

static __always_inline int shape_set(struct shape *shape, __u32 page_bytes, __u32 reserved)
{
	if (page_bytes < PAGE_MIN || page_bytes > 65536 || (page_bytes & (page_bytes - 1)))
		return -EINVAL;
	if (reserved > RESERVED_MAX || page_bytes - reserved < USABLE_MIN)
		return -EINVAL;
	if (page_bytes > PAGE_MAX)
		return -EFBIG;
	shape->page_bytes = page_bytes;
	shape->usable = page_bytes - reserved;
	return 0;
}

/*
 * The first block of something that does not begin as a database does: is it
 * noise? Half of the bytes of noise have their top bit set, and two of 512 are
 * zero. Text has no top bits, and other binary formats have many zeros.
 */
static __always_inline int is_noise(void)
{
	__u32 high = 0, zero = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < PAGE_MIN; i++) {
		__u8 byte = page.bytes[i];
		high += byte >> 7;
		zero += byte == 0;
	}
	return high >= 190 && high <= 322 && zero <= 16;
}

/* Reads and checks the file's header. */
static __always_inline int shape_read(struct shape *shape, __u32 flags)
{
	__u32 page_bytes, reserved;
	int fractions, err;

	if (dpu_size(0) < PAGE_MIN)
		return -ENODATA;
	err = (int)dpu_read(0, 0, &page, PAGE_MIN);
	if (err)
		return err;

	/* At 21: the payload fractions, which are these in every database. */
	fractions = byte_at(21) == 64 && byte_at(22) == 32 && byte_at(23) == 32;
	/* "SQLite format 3" and a zero. */
	if (u32_at(0) != 0x53514c69 || u32_at(4) != 0x74652066 ||
	    u32_at(8) != 0x6f726d61 || u32_at(12) != 0x74203300)
		return fractions || is_noise() ? -ENOKEY : -EMEDIUMTYPE;
	if (!fractions)
		return -EUCLEAN;

	page_bytes = u16_at(16);
	if (page_bytes == 1)
		page_bytes = 65536;
	reserved = byte_at(20);
	err = shape_set(shape, page_bytes, reserved);
	if (err)
		return err == -EINVAL ? -EUCLEAN : err;
	if (byte_at(19) > 2)
		return -ENOTSUP;
	if (byte_at(19) == 2 && !(flags & SQLITE_GET_WAL_OK))
		return -ENOTSUP;
	/* The page count is good if whoever counted also wrote last. */
	if (u32_at(24) == u32_at(92))
		shape->pages = u32_at(28);
	return 0;
}

static __always_inline int page_read(const struct shape *shape, __u32 number)
{
	__u64 offset = (__u64)(number - 1) * shape->page_bytes;
	long err;

	if (number == 0 || (shape->pages != 0 && number > shape->pages))
		return -EUCLEAN;
	err = dpu_read(0, offset, &page, shape->page_bytes);
	return err == -ERANGE ? -ENODATA : (int)err;
}

/* How much of a record of `len` bytes is in the leaf cell itself. */
static __always_inline __u32 local_bytes(__u32 usable, __u32 len)
{
	__u32 most = usable - 35, least, some;

	if (len <= most)
		return len;
	least = (usable - 12) * 32 / 255 - 23;
	some = least + (len - least) % (usable - 4);
	return some <= most ? some : least;
}

/* The record whose text starts at `at` of the page, into the reply. */
static __always_inline int record_copy(const struct shape *shape, __u8 *reply, __u32 at, __u64 len)
{
	__u32 usable = shape->usable;
	__u32 local, done, next;

	if (len > RECORD_MAX)
		return -EUCLEAN;
	if (len > REPLY_MAX)
		return -EMSGSIZE;
	local = local_bytes(usable, (__u32)len);
	if (at + local + (local < len ? 4 : 0) > usable)
		return -EUCLEAN;
	if (local > 0)
		dpu_memcpy(reply, page.bytes + (at & (PAGE_MAX - 1)), local);
	next = local < len ? u32_at(at + local) : 0;

#pragma clang loop unroll(disable)
	for (done = local; done < len;) {
		__u32 part = (__u32)len - done;
		int err;

		if (part > usable - 4)
			part = usable - 4;
		if (next < 2)
			return -EUCLEAN; /* the chain ends early, or in page 1 */
		err = page_read(shape, next);
		if (err)
			return err;
		next = u32_at(0);
		dpu_memcpy(reply + dpu_clamp(done, REPLY_MAX), page.bytes + 4, part);
		done += part;
	}
	return (int)len;
}

/* Where the cells of the page at hand are listed. */
struct cells {
	__u32 array; /* offset of the list */
	__u32 count;
};

/* Where cell i is, or 0 if that is nowhere it could be. */
static __always_inline __u32 cell_at(const struct shape *shape, const struct cells *cells, __u32 i)
{
	__u32 cell = u16_at(cells->array + 2 * i);

	return cell >= cells->array && cell < shape->usable ? cell : 0;
}

/*
 * The first cell whose rowid is not below the one wanted; as many as there are
 * if all are below. The loop is where a lookup spends its time, so there is one
 * for each kind of page, `leaf` being known when this is compiled, and nothing
 * in it but the search.
 */
static __always_inline int cell_find(const struct shape *shape, const struct cells *cells,
				     __s64 rowid, int leaf)
{
	__u32 low = 0, high = cells->count;

#pragma clang loop unroll(disable)
	while (low < high) {
		__u32 middle = (low + high) / 2;
		__u32 at = cell_at(shape, cells, middle);

		if (at == 0)
			return -EUCLEAN;
		if (leaf)
			varint_at(&at);
		else
			at += 4;
		if ((__s64)varint_at(&at) < rowid)
			low = middle + 1;
		else
			high = middle;
	}
	return (int)low;
}

SEC("dpu/call") int sqlite_get(struct dpu_ctx *ctx)
{
	const struct sqlite_get_args *args = ctx->args;
	__s64 rowid = args->rowid;
	__u32 number = args->root_page;
	struct shape shape = {0, 0, 0};
	int err;

	if (ctx->args_len < 12 || number == 0 || (args->flags & ~SQLITE_GET_WAL_OK))
		return -EINVAL;
	if (args->page_bytes)
		err = shape_set(&shape, args->page_bytes, args->reserved_bytes);
	else
		err = shape_read(&shape, args->flags);
	if (err)
		return err;

#pragma clang loop unroll(disable)
	for (__u32 depth = 0; depth < DEPTH_MAX; depth++) {
		__u32 top = number == 1 ? FILE_HEADER : 0;
		struct cells cells;
		__u32 at;
		__u8 type;
		int found;

		err = page_read(&shape, number);
		if (err)
			return err;
		type = byte_at(top);
		if (type != TYPE_INNER_TABLE && type != TYPE_LEAF_TABLE) {
			if (depth == 0 && (type == TYPE_INNER_INDEX || type == TYPE_LEAF_INDEX))
				return -ENOTSUP;
			return -EUCLEAN;
		}
		cells.count = (__u32)byte_at(top + 3) << 8 | byte_at(top + 4);
		cells.array = top + (type == TYPE_LEAF_TABLE ? LEAF_HEADER : INNER_HEADER);
		if (cells.array + 2 * cells.count > shape.usable)
			return -EUCLEAN;

		if (type == TYPE_LEAF_TABLE) {
			__u64 len;

			found = cell_find(&shape, &cells, rowid, 1);
			if (found < 0)
				return found;
			if ((__u32)found == cells.count)
				return -ENOENT;
			at = cell_at(&shape, &cells, (__u32)found);
			len = varint_at(&at);
			if ((__s64)varint_at(&at) != rowid)
				return -ENOENT;
			return record_copy(&shape, ctx->reply, at, len);
		}
		found = cell_find(&shape, &cells, rowid, 0);
		if (found < 0)
			return found;
		at = top + 8; /* the right-most child */
		if ((__u32)found < cells.count)
			at = cell_at(&shape, &cells, (__u32)found);
		number = u32_at(at);
	}
	return -EUCLEAN;
}
