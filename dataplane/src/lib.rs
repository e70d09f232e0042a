//! The dataplane of Septum: frames in, verdicts, frames out.

pub mod admission;
pub mod burst;
pub mod cli;
pub mod clock;
pub mod conntrack;
pub mod counters;
pub mod delivery;
pub mod directory;
pub mod drop_reason;
pub mod flow_log;
pub mod flow_record;
pub mod forwarding;
pub mod group;
pub mod guard;
pub mod packet_test;
pub mod pipeline;
pub mod port;
pub mod publish;
pub mod responder;
pub mod routing;
pub mod segmenter;
pub mod snapshot;
pub mod switch;
pub mod sys;
pub mod wire;
pub mod worker;
