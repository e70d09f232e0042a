//! Time of the thread on the processor, so that other work beside it counts less.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long this thread has had a processor.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("it counts from zero")
}
