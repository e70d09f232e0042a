//! What an ICMP error quotes, read a second time.

use std::net::IpAddr;

use septum_rules::proto::{Layer4, Protocol};

use crate::craft::{ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::view::Packet;

/// The start of a packet in an error about it.
pub(super) struct Quoted {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) layer4: Layer4,
    /// An echo's identifier.
    pub(super) identifier: u16,
    /// A TCP segment's number.
    pub(super) sequence: Option<u32>,
}

/// What an error in `frame`, which ends with the packet, quotes.
pub(super) fn quoted(frame: &[u8], packet: &Packet) -> Option<Quoted> {
    let inner = frame.get(packet.transport + 8..)?;
    let (source, destination, protocol, transport) = match packet.source {
        IpAddr::V4(_) => {
            let header = usize::from(inner.first()? & 0xf) * 4;
            let address = |at: usize| <[u8; 4]>::try_from(inner.get(at..at + 4)?).ok().map(IpAddr::from);
            (address(12)?, address(16)?, *inner.get(9)?, inner.get(header..)?)
        }
        IpAddr::V6(_) => {
            let address = |at: usize| <[u8; 16]>::try_from(inner.get(at..at + 16)?).ok().map(IpAddr::from);
            (address(8)?, address(24)?, *inner.get(6)?, inner.get(40..)?)
        }
    };
    let number = |at: usize| Some(u16::from_be_bytes([*transport.get(at)?, *transport.get(at + 1)?]));
    let layer4 = match protocol {
        TCP | UDP | SCTP => Layer4::ports(Protocol(protocol), number(0)?, number(2)?),
        ICMP | ICMPV6 => Layer4::icmp(Protocol(protocol), *transport.first()?, *transport.get(1)?),
        _ => Layer4::bare(Protocol(protocol)),
    };
    let is_echo = matches!((protocol, transport.first()), (ICMP, Some(0 | 8)) | (ICMPV6, Some(128 | 129)));
    let identifier = if is_echo { number(4)? } else { 0 };
    let sequence = (protocol == TCP)
        .then(|| transport.get(4..8).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes"))))
        .flatten();
    Some(Quoted { source, destination, layer4, identifier, sequence })
}
