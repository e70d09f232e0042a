//! Limits of this process (getrlimit(2)) that decide how many ports it can hold and which fast paths it may use.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lifts the limit of open descriptors as far as the process may, and gives it: a port takes one a queue and one
/// more. `None` is no limit.
pub fn raise_open_files() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // The lower limit stays in force where this is refused.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// Bytes that the process may lock in memory; `None` is no limit.
pub fn locked_memory() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}
