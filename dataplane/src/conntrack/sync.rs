//! The atomics of this module: those of the standard library in pages from the kernel, or, under `--cfg septum_loom`,
//! loom's on the heap, which runs every interleaving of a small test (see `loom_tests`).

#[cfg(not(septum_loom))]
mod real {
    use crate::sys::pages::{Pages, Zeroed};
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// Memory that all workers share.
    pub(crate) type Shared<T> = Pages<T>;

    /// `length` elements, all zero.
    pub(crate) fn zeroed<T: Zeroed>(length: usize) -> Shared<T> {
        Pages::zeroed(length)
    }
}

#[cfg(septum_loom)]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    pub(crate) type Shared<T> = Box<[T]>;

    pub(crate) fn zeroed<const N: usize>(length: usize) -> Shared<[AtomicU64; N]> {
        (0..length).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect()
    }
}

#[cfg(septum_loom)]
pub(super) use model::*;
#[cfg(not(septum_loom))]
pub(super) use real::*;
