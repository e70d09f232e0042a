//! Memory straight from the kernel: zeroed, aligned to pages, of huge pages where there are any.
//!
//! For what is large and read at random: with pages of 4 KiB, most such reads miss the processor's cache of
//! translations too. `MADV_HUGEPAGE` is a wish (madvise(2)); where it is not granted, or the kernel lacks transparent huge
//! pages, the memory is the same in small ones. Nothing is resident before it is touched.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};
use std::slice::{from_raw_parts, from_raw_parts_mut};
use std::sync::atomic::AtomicU64;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// What is valid when all its bytes are zero, has no destructor, and is aligned to no more than a page.
///
/// # Safety
/// Exactly that.
pub unsafe trait Zeroed {}

// SAFETY: every byte is one.
unsafe impl Zeroed for u8 {}

// SAFETY: an integer, whatever its bytes; no destructor; aligned to eight bytes.
unsafe impl<const N: usize> Zeroed for [AtomicU64; N] {}

/// A slice that owns its pages.
pub struct Pages<T: Zeroed> {
    start: NonNull<T>,
    length: usize,
}

impl<T: Zeroed> Pages<T> {
    /// `length` elements, all zero.
    ///
    /// # Panics
    /// When there are no elements, or they exceed the address space. Ends the process where the system has no memory, as
    /// every allocation does.
    pub fn zeroed(length: usize) -> Self {
        let layout = Layout::array::<T>(length).expect("within the address space");
        assert!(layout.size() > 0, "no memory at all is asked for");
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: with a null hint the kernel chooses a place where nothing is.
        let mapped =
            unsafe { mmap_anonymous(null_mut(), layout.size(), ProtFlags::READ | ProtFlags::WRITE, flags) };
        let Some(start) = mapped.ok().and_then(|start| NonNull::new(start.cast::<T>())) else {
            handle_alloc_error(layout)
        };
        // SAFETY: exactly the range that was mapped just now; the advice changes no byte of it.
        let _ = unsafe { madvise(start.as_ptr().cast(), layout.size(), Advice::LinuxHugepage) };
        Self { start, length }
    }
}

impl<T: Zeroed> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `length` elements from `start` are mapped as long as `self` lives, zero is valid for them (`Zeroed`), and
        // only `DerefMut` hands out what could change them unshared.
        unsafe { from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T: Zeroed> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; and `self` is borrowed for this alone.
        unsafe { from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T: Zeroed> Drop for Pages<T> {
    fn drop(&mut self) {
        let bytes = size_of_val::<[T]>(self);
        // SAFETY: the range that `zeroed` mapped, and nobody holds a reference into it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
    }
}

// SAFETY: owns its elements, as a boxed slice does.
unsafe impl<T: Zeroed + Send> Send for Pages<T> {}

// SAFETY: hands out what a boxed slice hands out.
unsafe impl<T: Zeroed + Sync> Sync for Pages<T> {}

impl<T: Zeroed> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn pages_are_zeroed_writable_and_aligned() {
        let mut bytes = Pages::<u8>::zeroed(100_000);
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes[99_999] = 7;
        assert_eq!(bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 7);
        let lines = Pages::<[AtomicU64; 8]>::zeroed(3);
        assert_eq!(lines.as_ptr().addr() % 64, 0);
        lines[2][7].store(9, Ordering::Relaxed);
        assert_eq!(lines[2][7].load(Ordering::Relaxed), 9);
    }
}
