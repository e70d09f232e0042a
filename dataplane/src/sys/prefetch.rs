//! Asking the processor to fetch memory before it is needed.

/// Asks for the cache line that holds the beginning of `place`, for reading. A hint: nothing waits for it, and nothing
/// changes where the processor has no such instruction.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    prefetch_at(place);
}

/// The same by the address alone, which may be anywhere.
#[inline(always)]
pub(crate) fn prefetch_at<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads no value and faults at no address; every x86-64 processor knows it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
