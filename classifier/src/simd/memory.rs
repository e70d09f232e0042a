//! Memory that lookups reach without waiting for it: asked for early, and in huge pages where there is much of it.
//!
//! A table of tens of megabytes is reached at random, once a packet. In pages of 4 KiB the processor knows the place of
//! hardly any of them, and looks for it in memory before it can look at the entry; in pages of 2 MiB it knows all of them.
//! Both are hints: without them the same tables are read, later (`cargo bench -p septum-classifier --bench identities`).

/// Asks for the cache line that holds the beginning of `place`, for reading. Nothing waits for it.
#[inline(always)]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads no value and faults at no address; every x86-64 processor knows it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// `len` times `value`, in huge pages where it is large and the kernel has some (madvise(2)).
pub(crate) fn filled<T: Copy>(value: T, len: usize) -> Box<[T]> {
    let mut items: Vec<T> = Vec::with_capacity(len);
    // Memory that is touched for the first time comes in huge pages at once.
    advise(items.spare_capacity_mut(), Advice::Huge);
    items.resize(len, value);
    let mut items = items.into_boxed_slice();
    // What a compile had used and freed before comes in the small pages that it had: they are joined now.
    advise(&mut items, Advice::Collapse);
    items
}

#[derive(Clone, Copy, Debug)]
enum Advice {
    /// `MADV_HUGEPAGE`
    Huge,
    /// `MADV_COLLAPSE`, since Linux 6.1
    Collapse,
}

/// Asks for huge pages where a slice of memory holds some of them whole.
fn advise<T>(memory: &mut [T], advice: Advice) {
    #[cfg(target_os = "linux")]
    {
        /// Of x86-64, and of other processors with pages of 4 KiB.
        const HUGE_PAGE: usize = 2 << 20;
        let advice = match advice {
            Advice::Huge => libc::MADV_HUGEPAGE,
            Advice::Collapse => libc::MADV_COLLAPSE,
        };
        let range = memory.as_mut_ptr_range();
        let first = range.start.addr().next_multiple_of(HUGE_PAGE);
        let end = range.end.addr() / HUGE_PAGE * HUGE_PAGE;
        if first < end {
            let start = range.start.with_addr(first).cast();
            // SAFETY: the pages lie inside memory that the slice borrows, and the advice changes no byte of it. Where the
            // kernel refuses, nothing has changed.
            unsafe { libc::madvise(start, end - first, advice) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (memory, advice);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_in_small_and_in_huge_pages() {
        for len in [0, 1, 1000, (9 << 20) / 8] {
            let items = filled(0x5a5a_u64, len);
            assert!(items.len() == len && items.iter().all(|item| *item == 0x5a5a));
            items.iter().take(3).for_each(prefetch);
        }
    }
}
