//! The dataplane of Septum: frames in, verdicts, frames out.

pub mod burst;
pub mod clock;
pub mod conntrack;
pub mod counters;
pub mod drop_reason;
pub mod port;
pub mod sys;
pub mod wire;
