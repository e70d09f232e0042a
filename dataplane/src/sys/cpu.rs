//! Processors that this process may use (sched_setaffinity(2)).

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that the calling thread may run on, in order: fewer than the machine has in a container or
/// under taskset(1).
///
/// # Errors
/// On machines with more than 1,024 processors.
pub fn available() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Keeps the calling thread on one processor.
///
/// # Errors
/// `EINVAL` when the process may not use it.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_what_is_available() {
        std::thread::spawn(|| {
            let first = available().unwrap()[0];
            pin(first).unwrap();
            assert_eq!(available().unwrap(), [first]);
            assert!(pin(usize::MAX).is_err());
        })
        .join()
        .unwrap();
    }
}
