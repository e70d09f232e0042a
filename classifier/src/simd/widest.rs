//! Plain code, compiled once for each width of vector registers.
//!
//! Loops of arithmetic over a burst's arrays become vector instructions by the compiler alone, if it may use them.

use super::SimdPath;

/// Something to do. Its `run`, and all that does the work in it, must be `#[inline(always)]`: what is not inlined is compiled for
/// every processor.
pub(crate) trait Work {
    fn run(self);
}

/// Does it with the widest registers that this processor has.
#[inline]
pub(crate) fn widest(work: impl Work) {
    compiled_for(SimdPath::best(), work);
}

/// Does it with these instructions, or with those of every processor where it has not these.
#[inline]
pub(crate) fn compiled_for(path: SimdPath, work: impl Work) {
    match path {
        #[cfg(target_arch = "x86_64")]
        SimdPath::Avx512 if path.is_available() => {
            // SAFETY: the processor has the instructions.
            unsafe { avx512(work) }
        }
        #[cfg(target_arch = "x86_64")]
        SimdPath::Avx2 if path.is_available() => {
            // SAFETY: the processor has the instructions.
            unsafe { avx2(work) }
        }
        _ => work.run(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
fn avx2(work: impl Work) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt,bmi1,bmi2")]
fn avx512(work: impl Work) {
    work.run();
}
