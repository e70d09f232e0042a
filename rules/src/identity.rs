//! The numbers by which the compiled policy knows who is who.
//!
//! `docs/` and the semantics define *identity*: the number of a distinct combination of all that a gate
//! reads of an endpoint. Three numbers must never be mixed up, so each is a type of its own: the dense
//! index of one compiled object, the stable key across objects and hosts, and a workload's place in a policy.

use std::fmt;

/// A dense index into one compiled object; means nothing in another generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId(pub u32);

/// A 128-bit hash of an identity in canonical form: for logs, stores and other hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey(pub u128);

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Addresses are unique within a domain. There is one today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u16);

/// A segment's index in [`crate::policy::Policy::segments`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// A workload's index in [`crate::policy::Policy::workloads`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(pub u32);

/// A named network's index in [`crate::policy::Policy::networks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

/// A rule's index in [`crate::policy::Policy::rules`] (file order, which never decides anything).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

macro_rules! index {
    ($($id:ident),*) => {$(
        impl $id {
            /// The index for a slice.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}
index!(IdentityId, SegmentId, WorkloadId, NetworkId, RuleId);
