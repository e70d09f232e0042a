//! What a Septum policy means.
//!
//! This crate holds the vocabulary that all crates share ([`policy::Policy`] and its parts), the policy
//! language (text to [`policy::Policy`], with diagnostics) and the reference evaluator: slow, obvious,
//! and the definition that everything fast is proved equal to. It does no I/O, reads no clock, starts no threads.

#![forbid(unsafe_code)]

pub mod address;
pub mod conntrack;
pub mod date;
pub mod diagnostic;
mod document;
pub mod endpoint;
pub mod flow_key;
pub mod format;
pub mod identity;
pub mod import;
pub mod invariant;
pub mod lint;
pub mod load;
pub mod mac;
pub mod oracle;
pub mod policy;
pub mod port_range;
pub mod proto;
pub mod question;
mod resolve;
pub mod rule;
pub mod schema;
pub mod segment;
pub mod selector;
pub mod source;
mod syntax;
pub mod test_case;
pub mod verdict;
pub mod verify;
pub mod workload;
