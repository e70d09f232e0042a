//! DHCP for IPv6 (RFC 8415): what a client asks, and the server's answer.
//!
//! Read: only what decides about the answer. A message that is cut off, whose options reach beyond it, that comes through
//! a relay, that no client sends, or that repeats an identifier is malformed as a whole. Of identity associations, the first for
//! non-temporary addresses is served. Written: a whole Ethernet frame into the caller's buffer.
//!
//! Reading panics on no input; writing only when the buffer is shorter than [`LONGEST`]. Nothing allocates.

use std::net::Ipv6Addr;

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::ORIGINATED_TTL;
use super::checksum::Sum;
use super::ethernet::{EtherType, EthernetHeader};
use super::ipv6::Ipv6Header;
use super::transport::{UDP_HEADER, emit_udp};
use crate::drop_reason::DropReason;

/// UDP ports (RFC 8415 section 7.2).
pub const CLIENT: u16 = 546;
/// UDP ports (RFC 8415 section 7.2).
pub const SERVER: u16 = 547;

/// Bytes of the longest identifier (RFC 8415 section 11.1).
const LONGEST_IDENTIFIER: usize = 130;
/// Addresses that an answer grants.
pub const ADDRESSES: usize = 8;
/// Name servers that an answer names.
pub const NAME_SERVERS: usize = 4;
/// The longest frame that [`Answer::write`] writes.
pub const LONGEST: usize = EthernetHeader::LENGTH + Ipv6Header::LENGTH + UDP_HEADER + 4 + 700;

mod option {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    pub(super) const ASSOCIATION: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const STATUS: u16 = 13;
    pub(super) const RAPID_COMMIT: u16 = 14;
    /// RFC 3646.
    pub(super) const NAME_SERVERS: u16 = 23;
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To find a server; with rapid commit, its addresses at once.
    Solicit {
        /// It takes a reply for an advertisement.
        rapid: bool,
    },
    /// Its addresses, now or for longer, from this server or from any.
    Addresses,
    /// To know whether its addresses fit the link.
    Confirm,
    /// Nothing but parameters.
    Information,
    /// To give addresses back, or to complain that somebody has them.
    Part,
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it wants.
    pub wish: Wish,
    transaction: [u8; 3],
    client: &'a [u8],
    server: Option<&'a [u8]>,
    /// Identifier of its association for addresses, and the options in that.
    association: Option<([u8; 4], &'a [u8])>,
}

impl<'a> Request<'a> {
    /// Reads the message in the payload of a UDP datagram.
    ///
    /// # Errors
    /// [`DropReason::Dhcpv6Malformed`]
    pub fn parse(message: &'a [u8]) -> Result<Self, DropReason> {
        Self::read(message).ok_or(DropReason::Dhcpv6Malformed)
    }

    fn read(message: &'a [u8]) -> Option<Self> {
        let [kind, a, b, c, options @ ..] = message else { return None };
        let (mut client, mut server, mut association, mut rapid) = (None, None, None, false);
        for option in Options(options) {
            let (code, value) = option?;
            match code {
                option::CLIENT if client.is_none() => client = Some(value),
                option::SERVER if server.is_none() => server = Some(value),
                option::CLIENT | option::SERVER => return None,
                option::ASSOCIATION => {
                    let (head, inner) = value.split_at_checked(12)?;
                    association = association.or(Some(([head[0], head[1], head[2], head[3]], inner)));
                }
                option::RAPID_COMMIT => rapid = true,
                _ => {}
            }
        }
        let wish = match kind {
            1 => Wish::Solicit { rapid },
            3 | 5 | 6 => Wish::Addresses,
            4 => Wish::Confirm,
            8 | 9 => Wish::Part,
            11 => Wish::Information,
            _ => return None,
        };
        // RFC 8415 section 16: who must name the server, and who must not.
        let server_fits = match kind {
            1 | 4 | 6 => server.is_none(),
            3 | 5 | 8 | 9 => server.is_some(),
            _ => true,
        };
        let client = match (client, wish) {
            (Some(client), _) => client,
            (None, Wish::Information) => &[],
            (None, _) => return None,
        };
        let is_valid = server_fits && client.len() <= LONGEST_IDENTIFIER;
        is_valid.then_some(Self { wish, transaction: [*a, *b, *c], client, server, association })
    }

    /// Whether it speaks to the server of that MAC, or to all.
    pub fn is_for(&self, server: MacAddress) -> bool {
        self.server.is_none_or(|named| named == identifier(server))
    }

    /// Whether every address that it holds is one of these.
    pub fn holds_only(&self, granted: &[Ipv6Addr]) -> bool {
        let Some((_, inner)) = self.association else { return false };
        Options(inner).flatten().filter(|(code, _)| *code == option::ADDRESS).all(|(_, value)| {
            value.first_chunk::<16>().is_some_and(|octets| granted.contains(&Ipv6Addr::from(*octets)))
        })
    }
}

/// The options of a message, one after the other; `None` is one that reaches beyond it.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let option = bytes.split_at_checked(4).and_then(|(head, rest)| {
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let (value, rest) = rest.split_at_checked(length)?;
            self.0 = rest;
            Some((u16::from_be_bytes([head[0], head[1]]), value))
        });
        Some(option)
    }
}

/// The DUID of a server: its link-layer address (RFC 8415 section 11.4).
fn identifier(mac: MacAddress) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac.0;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// What became of a wish (RFC 8415 section 21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is granted.
    Success = 0,
    /// There is no address for this client.
    NoAddresses = 2,
    /// The addresses do not fit the link.
    NotOnLink = 4,
}

/// The server's side of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The server's MAC; its link-local address is the source.
    pub server: MacAddress,
    /// The client's MAC and address.
    pub client: (MacAddress, Ipv6Addr),
    /// The addresses that are granted; the first [`ADDRESSES`] are told.
    pub addresses: &'a [Ipv6Addr],
    /// Seconds for which they are.
    pub lease: u32,
    /// Name servers; the first [`NAME_SERVERS`] are told.
    pub name_servers: &'a [Ipv6Addr],
}

impl Answer<'_> {
    /// Writes the answer to `request`, and gives its length.
    ///
    /// # Panics
    /// When `out` is shorter than [`LONGEST`].
    pub fn write(&self, request: &Request<'_>, out: &mut [u8]) -> usize {
        const MESSAGE: usize = EthernetHeader::LENGTH + Ipv6Header::LENGTH + UDP_HEADER;
        let (mac, destination) = self.client;
        let source = self.server.link_local();
        let ethernet = EthernetHeader { destination: mac, source: self.server, ethertype: EtherType::IPV6 };
        ethernet.emit(None, out);
        let length = self.write_message(request, &mut out[MESSAGE..LONGEST]);
        let datagram = UDP_HEADER + length;
        let network = &mut out[EthernetHeader::LENGTH..];
        Ipv6Header::emit(network, (source, destination), Protocol::UDP, ORIGINATED_TTL, datagram);
        let pseudo = Sum::pseudo_header_v6(source, destination, Protocol::UDP, datagram as u32);
        emit_udp(&mut out[MESSAGE - UDP_HEADER..MESSAGE + length], (SERVER, CLIENT), pseudo);
        MESSAGE + length
    }

    fn write_message(&self, request: &Request<'_>, out: &mut [u8]) -> usize {
        const ADVERTISE: u8 = 2;
        const REPLY: u8 = 7;
        let is_advertised = matches!(request.wish, Wish::Solicit { rapid: false });
        let [a, b, c] = request.transaction;
        out[..4].copy_from_slice(&[if is_advertised { ADVERTISE } else { REPLY }, a, b, c]);
        let mut options = Writer { out, at: 4 };
        if !request.client.is_empty() {
            options.put(option::CLIENT, &[request.client]);
        }
        options.put(option::SERVER, &[&identifier(self.server)]);
        match request.wish {
            Wish::Solicit { .. } | Wish::Addresses => {
                if let Some((association, _)) = request.association {
                    self.put_association(association, &mut options);
                }
                if request.wish == (Wish::Solicit { rapid: true }) {
                    options.put(option::RAPID_COMMIT, &[]);
                }
            }
            Wish::Confirm => {
                let fits = request.holds_only(self.addresses);
                options.status(if fits { Status::Success } else { Status::NotOnLink });
            }
            Wish::Part => options.status(Status::Success),
            Wish::Information => {}
        }
        let mut names = [0; 16 * NAME_SERVERS];
        let told = self.name_servers.len().min(NAME_SERVERS);
        for (place, server) in names.chunks_exact_mut(16).zip(self.name_servers) {
            place.copy_from_slice(&server.octets());
        }
        if told != 0 {
            options.put(option::NAME_SERVERS, &[&names[..16 * told]]);
        }
        options.at
    }

    fn put_association(&self, association: [u8; 4], options: &mut Writer<'_>) {
        /// Code, length, address, preferred and valid lifetime.
        const ADDRESS: usize = 28;
        let renew = (self.lease / 2).to_be_bytes();
        let rebind = (self.lease / 5 * 4).to_be_bytes();
        let mut inner = [0; ADDRESS * ADDRESSES];
        let told = self.addresses.len().min(ADDRESSES);
        for (place, address) in inner.chunks_exact_mut(ADDRESS).zip(self.addresses) {
            place[..2].copy_from_slice(&option::ADDRESS.to_be_bytes());
            place[2..4].copy_from_slice(&24_u16.to_be_bytes());
            place[4..20].copy_from_slice(&address.octets());
            place[20..24].copy_from_slice(&self.lease.to_be_bytes());
            place[24..28].copy_from_slice(&self.lease.to_be_bytes());
        }
        let [high, low] = (Status::NoAddresses as u16).to_be_bytes();
        let [code_high, code_low] = option::STATUS.to_be_bytes();
        let refusal = [code_high, code_low, 0, 2, high, low];
        let inner = if told == 0 { &refusal[..] } else { &inner[..ADDRESS * told] };
        options.put(option::ASSOCIATION, &[&association, &renew, &rebind, inner]);
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, code: u16, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.out[self.at..self.at + 2].copy_from_slice(&code.to_be_bytes());
        self.out[self.at + 2..self.at + 4].copy_from_slice(&(length as u16).to_be_bytes());
        self.at += 4;
        for part in parts {
            self.out[self.at..self.at + part.len()].copy_from_slice(part);
            self.at += part.len();
        }
    }

    fn status(&mut self, status: Status) {
        self.put(option::STATUS, &[&(status as u16).to_be_bytes()]);
    }
}
