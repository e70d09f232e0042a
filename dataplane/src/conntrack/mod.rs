//! Connection tracking: which packets belong to a conversation that the gates have already admitted.
//!
//! One [`ConnectionTable`] serves all workers, because the two directions of a connection may reach different
//! ones. It takes no lock: entries are atomic words, claimed and published through the first.
//! The gates judge only what opens a connection; this module says what that is, protocol by protocol, what belongs to one, and
//! how many a workload may have.

mod displaced;
mod end;
mod entry;
mod fragments;
mod key;
mod open;
mod places;
mod quota;
#[cfg(test)]
mod rehearsal;
mod requests;
mod sctp;
mod segment;
mod state;
mod sync;
mod table;
mod terms;
mod window;
mod words;

pub use entry::Entry;
pub use fragments::{FragmentTable, Unfollowed};
pub use key::{Connection, ConnectionKey, Direction, IcmpRole, icmp_role};
pub use open::{Opening, Unopened};
pub use sctp::Chunk;
pub use segment::Segment;
pub use state::{Packet, Phase, State, Step};
pub use table::ConnectionTable;
pub use terms::Terms;
pub use window::{Answer, Sender};
pub use words::NO_VERDICT;
