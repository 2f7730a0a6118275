typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
struct rec { u32 key; u32 tag; u64 value; };
__attribute__((section("s_filter"))) u64 filter(u8 *p, u64 len) {
  struct rec *r = (struct rec *)p, *end = (struct rec *)(p + 65536);
  u64 sum = 0, n = 0;
  do { if (r->key < 0x80000000u) { sum += r->value; n++; } r++; } while (r != end);
  return sum ^ n << 48;
}
struct page { u32 count; u32 pad; u64 keys[255]; u64 vals[255]; };
__attribute__((section("s_search"))) u64 search(u8 *p, u64 len) {
  struct page *pg = (struct page *)p; u64 sum = 0; u64 key = pg->vals[0];
  u32 count = pg->count; if (count > 255) count = 255;
  for (int i = 0; i < 256; i++) {
    u32 lo = 0, hi = count;
    while (lo < hi) { u32 mid = (lo + hi) / 2; if (pg->keys[mid] < key) lo = mid + 1; else hi = mid; }
    sum += lo; key = (key * 6364136223846793005ull + 1442695040888963407ull); 
  }
  return sum;
}
__attribute__((section("s_fnv"))) u64 fnv(u8 *p, u64 len) {
  u64 h = 0xcbf29ce484222325ull; 
  for (u8 *q = p; q != p + 4096; q++) { h ^= *q; h *= 0x100000001b3ull; }
  return h;
}
__attribute__((section("s_varint"))) u64 varint(u8 *p, u64 len) {
  u64 sum = 0; u8 *end = p + 4080; 
  while (p < end) {
    u64 v = 0; u32 i;
    for (i = 0; i < 8; i++) { u8 b = *p++; v = v << 7 | (b & 0x7f); if (b < 0x80) goto done; }
    v = v << 8 | *p++;
  done: sum += v;
  }
  return sum;
}
