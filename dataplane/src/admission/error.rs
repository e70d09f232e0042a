//! ICMP errors: they belong to the connection whose packet they quote.

use super::{Admission, Admitted, Carried, Refused, standing};
use crate::conntrack::ConnectionKey;
use crate::drop_reason::DropReason;
use crate::wire::quoted::{Quoted, quoted};

impl Admission<'_> {
    /// An error passes if it quotes a live connection, the quoted packet was sent by the error's receiver, and the
    /// error comes from the other end, or from the uplink behind which that lives. (Errors of the switch itself do not come in through a port.) Where windows are kept
    /// strictly, a quoted TCP segment must be one that was sent (RFC 5927 section 4.1).
    pub(super) fn error(&self, carried: &Carried<'_>) -> Result<Admitted, Refused> {
        let Self { table, snapshot, now, .. } = *self;
        let Carried { ip, frame, uplink } = *carried;
        let error = &ip.flow;
        let Some(quoted) = quoted(frame, ip) else {
            return Err(DropReason::IcmpNoConnection.into());
        };
        let Quoted { flow, echo_identifier, tcp_sequence } = quoted;
        let is_of_its_path = |uplink| snapshot.directory.routes().is_behind(flow.destination, uplink);
        let may_speak = flow.destination == error.source || uplink.is_some_and(is_of_its_path);
        if flow.source != error.destination || !may_speak {
            return Err(DropReason::IcmpNoConnection.into());
        }
        let (key, direction) = ConnectionKey::of(&flow, echo_identifier);
        let entry = table.find(&key, table.hash(&key), now).ok_or(DropReason::IcmpNoConnection)?;
        if let Some(sequence) = tcp_sequence.filter(|_| snapshot.terms.strict) {
            let (sender, receiver) = (entry.sender(direction), entry.sender(direction.reversed()));
            if !sender.has_sent(&receiver, sequence) {
                return Err(DropReason::IcmpOutOfWindow.into());
            }
        }
        standing(table, snapshot, &key, &entry)
    }
}
