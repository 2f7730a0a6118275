//! The seam by which a platform makes code executable.
#![allow(unsafe_code)] // The trait is a promise about memory; see there.

/// Memory that code is written to and executed from, never both at once.
///
/// # Safety
/// Between a [`seal`](CodeMemory::seal) that succeeded and the next call of
/// [`unseal`](CodeMemory::unseal), [`sealed`](CodeMemory::sealed) gives the address of the bytes as
/// they were when they were sealed; they can be executed by this very processor and every other that
/// may run the program (whose instruction caches have been told), and nothing writes to them. While
/// the memory can be written, it cannot be executed, and `sealed` gives nothing.
pub unsafe trait CodeMemory {
    /// Why the platform refused.
    type Error;

    /// Makes the memory writable, and no longer executable, and gives its bytes. If it is so already
    /// this costs nothing, and the bytes are those that were written.
    ///
    /// # Errors
    /// The platform refused; then the memory is not executable either.
    fn unseal(&mut self) -> Result<&mut [u8], Self::Error>;

    /// Makes the memory executable, and no longer writable. Only its first `len` bytes are code;
    /// caches need not be told of the others.
    ///
    /// # Errors
    /// The platform refused; then the memory is not executable.
    fn seal(&mut self, len: usize) -> Result<(), Self::Error>;

    /// The first byte, while it is sealed.
    fn sealed(&self) -> Option<*const u8>;
}
