//! The operating system: every call that the safe libraries do not wrap, wrapped once.
//!
//! The only place in this crate where `unsafe` stands, each block with its reason. What is handed out is safe:
//! descriptors are owned ([`std::os::fd::OwnedFd`]), errors are [`std::io::Error`] or a type of their own.
//! Nothing here knows of policies, frames' contents or the pipeline.

pub mod cpu;
pub mod descriptor;
pub mod limits;
pub mod namespace;
pub mod netlink;
pub mod packet;
pub mod pages;
pub mod prefetch;
pub mod sandbox;
pub mod signal;
pub mod steering;
pub mod sysctl;
pub mod traffic_control;
pub mod tun;
pub mod uring;
