//! Settings of one device under `/proc/sys/net`, seen in the calling thread's network namespace.
//!
//! Best effort: in a container `/proc/sys` may be read-only, and a kernel may lack a setting or IPv6 altogether.

use std::fs::write;

/// Which protocol's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `net.ipv4.conf`
    Ipv4,
    /// `net.ipv6.conf`
    Ipv6,
}

/// Sets `name` of `device` (or of `default`, for devices to come). False when that was refused.
pub fn set(family: Family, device: &str, name: &str, value: i32) -> bool {
    let family = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    write(format!("/proc/sys/net/{family}/conf/{device}/{name}"), value.to_string()).is_ok()
}
