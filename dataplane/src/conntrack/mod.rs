//! Connection tracking: which packets belong to a conversation that the gates have already admitted.
//!
//! One [`ConnectionTable`] serves all workers, because the two directions of a connection may reach different
//! ones. It takes no lock: entries are eight atomic words, claimed and published through the first.
//! The gates judge only what opens a connection; this module says what that is, protocol by protocol.

mod key;
mod state;
mod table;

pub use key::{Connection, ConnectionKey, Direction, IcmpRole, icmp_role};
pub use state::{Packet, Phase, Step, Timeouts};
pub use table::{ConnectionTable, Entry, Found, NO_VERDICT, TableFull, Unfollowed};
