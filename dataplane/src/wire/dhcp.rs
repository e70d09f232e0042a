//! DHCP for IPv4 (RFC 2131, RFC 2132): what a client asks, and the server's answer.
//!
//! Read: only what decides about the answer. A message that is cut off, whose options reach beyond it, that comes through
//! a relay or that no client sends is malformed as a whole; options that overload the fixed fields are not read. Written:
//! a whole Ethernet frame into the caller's buffer. Whose answer it is, and what it grants, is the caller's business.
//!
//! Reading panics on no input; writing only when the buffer is shorter than [`LONGEST`]. Nothing allocates.

use std::net::Ipv4Addr;

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::checksum::Sum;
use super::ethernet::{EtherType, EthernetHeader};
use super::ipv4::Ipv4Header;
use super::martian::{DHCP_CLIENT, DHCP_SERVER};
use super::transport::{UDP_HEADER, emit_udp};
use crate::drop_reason::DropReason;

/// Bytes before the options: the fixed fields and the magic cookie.
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes for options in an answer; with the fixed fields, no more than every client takes (RFC 2131 section 2).
const OPTIONS: usize = 308;
/// The longest frame that [`Answer::write`] writes.
pub const LONGEST: usize = EthernetHeader::LENGTH + Ipv4Header::LENGTH + UDP_HEADER + FIXED + OPTIONS;
/// Name servers that an answer names.
pub const NAME_SERVERS: usize = 4;

/// Options (RFC 2132), by their codes.
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const NAME_SERVERS: u8 = 6;
    pub(super) const MTU: u8 = 26;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const CLIENT: u8 = 61;
    /// RFC 3442.
    pub(super) const ROUTES: u8 = 121;
    pub(super) const END: u8 = 255;
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To hear what there is.
    Discover,
    /// This address.
    Request,
    /// Nothing but parameters: it has an address.
    Inform,
    /// To give its address back, or to complain that somebody has it: nothing is to be answered.
    Part,
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it wants.
    pub wish: Wish,
    /// Its hardware address as claimed.
    pub mac: MacAddress,
    /// The address that it uses already, or `0.0.0.0`.
    pub current: Ipv4Addr,
    /// The address that it names.
    pub requested: Option<Ipv4Addr>,
    /// The server whose offer it takes.
    pub server: Option<Ipv4Addr>,
    transaction: [u8; 4],
    seconds_and_flags: [u8; 4],
    client: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads the message in the payload of a UDP datagram.
    ///
    /// # Errors
    /// [`DropReason::DhcpMalformed`]
    pub fn parse(message: &'a [u8]) -> Result<Self, DropReason> {
        Self::read(message).ok_or(DropReason::DhcpMalformed)
    }

    fn read(message: &'a [u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = message.first_chunk()?;
        let four = |at: usize| [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        // BOOTREQUEST over Ethernet, not through a relay.
        let is_ours = fixed[..3] == [1, 1, 6] && four(24) == [0; 4] && four(236) == COOKIE;
        let options = Options::read(&message[FIXED..])?;
        let wish = match options.kind? {
            1 => Wish::Discover,
            3 => Wish::Request,
            4 | 7 => Wish::Part,
            8 => Wish::Inform,
            _ => return None,
        };
        is_ours.then_some(Self {
            wish,
            mac: MacAddress(std::array::from_fn(|octet| fixed[28 + octet])),
            current: four(12).into(),
            requested: options.requested,
            server: options.server,
            transaction: four(4),
            seconds_and_flags: four(8),
            client: options.client,
        })
    }

    fn wants_broadcast(&self) -> bool {
        self.seconds_and_flags[2] & 0x80 != 0
    }
}

/// The options that are read.
#[derive(Default)]
struct Options<'a> {
    kind: Option<u8>,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut found = Self::default();
        loop {
            let (code, rest) = bytes.split_first()?;
            match *code {
                option::END => return Some(found),
                option::PAD => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let (length, rest) = rest.split_first()?;
            let (value, rest) = rest.split_at_checked(usize::from(*length))?;
            let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
            match *code {
                option::TYPE => match (value, found.kind) {
                    ([kind], None) => found.kind = Some(*kind),
                    _ => return None,
                },
                option::REQUESTED => found.requested = Some(address()?),
                option::SERVER => found.server = Some(address()?),
                option::CLIENT => found.client = Some(value),
                _ => {}
            }
            bytes = rest;
        }
    }
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This is what there is.
    Offer = 2,
    /// It is yours; or, to who only informs itself, these are the parameters.
    Acknowledge = 5,
    /// Not that.
    Refuse = 6,
}

/// The server's side of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What it is.
    pub kind: Kind,
    /// The server's MAC and address.
    pub server: (MacAddress, Ipv4Addr),
    /// The address that is granted, with the length of its prefix.
    pub address: (Ipv4Addr, u8),
    /// Seconds for which it is; none in what only informs.
    pub lease: Option<u32>,
    /// The way out, and whether it lies outside of the prefix.
    pub router: Option<(Ipv4Addr, bool)>,
    /// Layer-3 MTU.
    pub mtu: u16,
    /// Name servers; the first [`NAME_SERVERS`] are told.
    pub name_servers: &'a [Ipv4Addr],
}

impl Answer<'_> {
    /// Writes the answer to `request`, and gives its length.
    ///
    /// # Panics
    /// When `out` is shorter than [`LONGEST`].
    pub fn write(&self, request: &Request<'_>, out: &mut [u8]) -> usize {
        const MESSAGE: usize = EthernetHeader::LENGTH + Ipv4Header::LENGTH + UDP_HEADER;
        let (mac, server) = self.server;
        let ethernet = EthernetHeader { destination: request.mac, source: mac, ethertype: EtherType::IPV4 };
        ethernet.emit(None, out);
        let length = self.write_message(request, &mut out[MESSAGE..LONGEST]);
        // RFC 2131 section 4.1; who has no address yet is known by its MAC.
        let destination = match self.kind {
            Kind::Refuse => Ipv4Addr::BROADCAST,
            _ if !request.current.is_unspecified() => request.current,
            _ if request.wants_broadcast() => Ipv4Addr::BROADCAST,
            _ => self.address.0,
        };
        let datagram = (UDP_HEADER + length) as u16;
        let network = &mut out[EthernetHeader::LENGTH..];
        Ipv4Header::emit(network, (server, destination), Protocol::UDP, 0, usize::from(datagram));
        let pseudo = Sum::pseudo_header_v4(server, destination, Protocol::UDP, datagram);
        let udp = &mut out[MESSAGE - UDP_HEADER..MESSAGE + length];
        emit_udp(udp, (DHCP_SERVER, DHCP_CLIENT), pseudo);
        MESSAGE + length
    }

    fn write_message(&self, request: &Request<'_>, out: &mut [u8]) -> usize {
        let (granted, length) = self.address;
        out[..FIXED].fill(0);
        out[..3].copy_from_slice(&[2, 1, 6]);
        out[4..8].copy_from_slice(&request.transaction);
        out[10..12].copy_from_slice(&request.seconds_and_flags[2..]);
        if self.kind != Kind::Refuse {
            out[12..16].copy_from_slice(&request.current.octets());
            if self.lease.is_some() {
                out[16..20].copy_from_slice(&granted.octets());
            }
        }
        out[28..34].copy_from_slice(&request.mac.0);
        out[236..FIXED].copy_from_slice(&COOKIE);
        let mut options = Writer { out: &mut out[FIXED..], at: 0 };
        options.put(option::TYPE, &[self.kind as u8]);
        options.put(option::SERVER, &self.server.1.octets());
        if self.kind != Kind::Refuse {
            if let Some(lease) = self.lease {
                options.put(option::LEASE, &lease.to_be_bytes());
            }
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            options.put(option::MASK, &mask.to_be_bytes());
            if let Some((router, is_outside)) = self.router {
                options.put(option::ROUTER, &router.octets());
                if is_outside {
                    // A host route that says it is a neighbour, and the default route by it.
                    let [a, b, c, d] = router.octets();
                    options.put(option::ROUTES, &[32, a, b, c, d, 0, 0, 0, 0, 0, a, b, c, d]);
                }
            }
            options.put(option::MTU, &self.mtu.to_be_bytes());
            let mut names = [0; 4 * NAME_SERVERS];
            let told = self.name_servers.len().min(NAME_SERVERS);
            for (place, server) in names.chunks_exact_mut(4).zip(self.name_servers) {
                place.copy_from_slice(&server.octets());
            }
            if told != 0 {
                options.put(option::NAME_SERVERS, &names[..4 * told]);
            }
        }
        // RFC 6842; one that does not fit is no identifier that a client uses.
        if let Some(client) = request.client.filter(|client| client.len() <= 128) {
            options.put(option::CLIENT, client);
        }
        let end = FIXED + options.at;
        // Some clients want the 300 bytes of BOOTP.
        let length = (end + 1).max(300);
        out[end..length].fill(option::PAD);
        out[end] = option::END;
        length
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, code: u8, value: &[u8]) {
        let end = self.at + 2 + value.len();
        self.out[self.at..self.at + 2].copy_from_slice(&[code, value.len() as u8]);
        self.out[self.at + 2..end].copy_from_slice(value);
        self.at = end;
    }
}
