//! The workloads as the machine's own code, which the build script has made of the C sources.
#![allow(unsafe_code)] // C is called.

unsafe extern "C" {
    fn engine_filter_scan(bytes: *const u8, key: u64) -> u64;
    fn engine_page_search(bytes: *const u8, key: u64) -> u64;
    fn engine_fnv(bytes: *const u8, key: u64) -> u64;
    fn engine_varint(bytes: *const u8, key: u64) -> u64;
}

macro_rules! safe {
    ($name:ident, $native:ident, $bytes:literal) => {
        /// The workload of that name.
        ///
        /// # Panics
        /// If there are fewer bytes than it works on, or they are not aligned.
        pub(super) fn $name(bytes: &[u8], key: u64) -> u64 {
            assert!(bytes.len() >= $bytes && bytes.as_ptr().addr().is_multiple_of(8));
            // SAFETY: it reads that many bytes there and does nothing else.
            unsafe { $native(bytes.as_ptr(), key) }
        }
    };
}

safe!(filter_scan, engine_filter_scan, 65536);
safe!(page_search, engine_page_search, 4096);
safe!(fnv, engine_fnv, 4096);
safe!(varint, engine_varint, 4096);
