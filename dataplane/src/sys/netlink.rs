//! Devices, addresses and routes, by name or by index (rtnetlink(7)).
//!
//! Synchronous: one request, its acknowledgement, the next. A [`Netlink`] speaks to the namespace in which it
//! was opened, wherever it is used afterwards. No `unsafe`: the netlink crates build and parse the messages.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, Nla,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoTun, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use septum_rules::mac::MacAddress;

/// A connection to the kernel's tables of devices, addresses and routes in one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, where it has one.
    pub mac: Option<MacAddress>,
    /// Layer-3 MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// The bridge, bond or VRF device that it belongs to.
    pub master: Option<u32>,
    /// What made it (`tun`, `veth` ...); `None` for hardware and the loopback device.
    pub kind: Option<String>,
    /// How the TUN driver made it.
    pub tun: Option<Tun>,
}

/// How a device of the TUN driver was made (`IFLA_TUN_*` of linux/if_link.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tun {
    /// A TAP device: Ethernet frames; else a TUN device: IP packets.
    pub tap: bool,
    /// Made for several queues.
    pub multi_queue: bool,
    /// Frames carry a virtio header.
    pub header: bool,
    /// It outlives its queues.
    pub persistent: bool,
    /// Descriptors attached now; told for devices with several queues only.
    pub queues: u32,
}

impl Netlink {
    /// Opens a connection to the calling thread's network namespace.
    ///
    /// # Errors
    /// When sockets are refused.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All devices of the namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.exchange(request, NLM_F_DUMP, |answer| links.extend(read_link(answer)))?;
        Ok(links)
    }

    /// The device of that name.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut found = None;
        self.exchange(RouteNetlinkMessage::GetLink(request), 0, |answer| found = read_link(answer))?;
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Makes two connected devices, the second one in another namespace where one is given.
    ///
    /// # Errors
    /// `EEXIST` when a name is taken; what else the kernel says.
    pub fn add_veth(
        &mut self,
        name: &str,
        peer: &str,
        peer_namespace: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut far = LinkMessage::default();
        far.attributes.push(LinkAttribute::IfName(peer.to_owned()));
        if let Some(namespace) = peer_namespace {
            far.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        }
        let mut near = LinkMessage::default();
        near.attributes.push(LinkAttribute::IfName(name.to_owned()));
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(near))
    }

    /// Deletes a device, for a veth both ends.
    ///
    /// # Errors
    /// `ENODEV` when there is none; `EOPNOTSUPP` for devices that cannot be deleted.
    pub fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(request))
    }

    /// Sets the device up or down.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        self.set_flag(index, LinkFlags::Up, up)
    }

    /// Lets the device answer ARP, or keeps it silent.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_arp(&mut self, index: u32, arp: bool) -> io::Result<()> {
        self.set_flag(index, LinkFlags::Noarp, !arp)
    }

    /// Sets the Ethernet address.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for a group address; what else the kernel says.
    pub fn set_mac(&mut self, index: u32, mac: MacAddress) -> io::Result<()> {
        self.set_attribute(index, LinkAttribute::Address(mac.0.to_vec()))
    }

    /// Sets the layer-3 MTU in bytes.
    ///
    /// # Errors
    /// `EINVAL` outside what the device can do.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        self.set_attribute(index, LinkAttribute::Mtu(mtu))
    }

    /// Keeps the kernel from giving the device an IPv6 address of its own, so that it asks and answers nothing.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` without IPv6, which is as good.
    pub fn set_no_link_local(&mut self, index: u32) -> io::Result<()> {
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        self.set_attribute(index, LinkAttribute::AfSpecUnspec(vec![inet6]))
    }

    /// Moves the device into another namespace, where it arrives down and without addresses. About 18 ms:
    /// making it there is faster.
    ///
    /// # Errors
    /// `EEXIST` when its name is taken there; what else the kernel says.
    pub fn move_link(&mut self, index: u32, namespace: BorrowedFd<'_>) -> io::Result<()> {
        self.set_attribute(index, LinkAttribute::NetNsFd(namespace.as_raw_fd()))
    }

    /// Adds an address; an IPv6 one without duplicate address detection (RFC 4862 section 5.4), so that it can
    /// be used at once.
    ///
    /// # Errors
    /// `EEXIST` when the device has it; what else the kernel says.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix_length: u8) -> io::Result<()> {
        let mut request = address_message(index, address, prefix_length);
        match address {
            IpAddr::V4(v4) if prefix_length < 31 => {
                let hosts = u32::MAX.checked_shr(u32::from(prefix_length)).unwrap_or(0);
                request.attributes.push(AddressAttribute::Broadcast((v4.to_bits() | hosts).into()));
            }
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => request.header.flags = AddressHeaderFlags::Nodad,
        }
        self.create(RouteNetlinkMessage::NewAddress(request))
    }

    /// Removes an address.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when the device does not have it.
    pub fn delete_address(&mut self, index: u32, address: IpAddr, prefix_length: u8) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelAddress(address_message(index, address, prefix_length)))
    }

    /// The IPv4 addresses of a device.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ipv4_addresses(&mut self, index: u32) -> io::Result<Vec<Ipv4Addr>> {
        let mut addresses = Vec::new();
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.exchange(request, NLM_F_DUMP, |answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else { return };
            if message.header.index != index {
                return;
            }
            addresses.extend(message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            }));
        })?;
        Ok(addresses)
    }

    /// Adds the default route of the gateway's family. `on_link` says that the gateway is a neighbour though no
    /// subnet of the device holds it.
    ///
    /// # Errors
    /// `EEXIST` when there is one; `ENETUNREACH` when the gateway is no neighbour.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr, on_link: bool) -> io::Result<()> {
        let mut request = RouteMessage::default();
        request.header = RouteHeader {
            address_family: family_of(gateway),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            flags: if on_link { RouteFlags::Onlink } else { RouteFlags::empty() },
            ..RouteHeader::default()
        };
        request.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
        request.attributes.push(RouteAttribute::Oif(index));
        self.create(RouteNetlinkMessage::NewRoute(request))
    }

    fn set_flag(&mut self, index: u32, flag: LinkFlags, on: bool) -> io::Result<()> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.header.change_mask = flag;
        request.header.flags = if on { flag } else { LinkFlags::empty() };
        self.request(RouteNetlinkMessage::SetLink(request))
    }

    fn set_attribute(&mut self, index: u32, attribute: LinkAttribute) -> io::Result<()> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.attributes.push(attribute);
        self.request(RouteNetlinkMessage::SetLink(request))
    }

    pub(super) fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |_| {})
    }

    pub(super) fn request(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK, |_| {})
    }

    /// Sends one request and reads its answers: to the end of a dump, to the acknowledgement where one is asked
    /// for, else to the first.
    pub(super) fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut answer: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let awaits_end = flags & (NLM_F_ACK | NLM_F_DUMP) != 0;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                // Messages are aligned to four bytes, the last one perhaps not.
                let taken = (reply.header.length as usize).next_multiple_of(4).min(rest.len());
                rest = &rest[taken..];
                if reply.header.sequence_number != self.sequence {
                    continue;
                }
                match reply.payload {
                    NetlinkPayload::Error(error) => {
                        return error.code.map_or(Ok(()), |_| Err(error.to_io()));
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::InnerMessage(inner) => {
                        answer(inner);
                        if !awaits_end {
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

fn read_link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        kind: None,
        tun: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = (index != 0).then_some(index),
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(MacAddress),
            LinkAttribute::LinkInfo(information) => {
                for entry in information {
                    match entry {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Tun(attributes)) => link.tun = Some(read_tun(&attributes)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

fn read_tun(attributes: &[InfoTun]) -> Tun {
    // linux/if_link.h; the first enumerator is 0.
    const IFLA_TUN_TYPE: u16 = 3;
    const IFLA_TUN_VNET_HDR: u16 = 5;
    const IFLA_TUN_PERSIST: u16 = 6;
    const IFLA_TUN_MULTI_QUEUE: u16 = 7;
    const IFLA_TUN_NUM_QUEUES: u16 = 8;
    const IFF_TAP: u8 = 2;
    let mut tun = Tun::default();
    for attribute in attributes {
        let mut value = [0; 4];
        attribute.emit_value(&mut value[..attribute.value_len().min(4)]);
        match attribute.kind() {
            IFLA_TUN_TYPE => tun.tap = value[0] == IFF_TAP,
            IFLA_TUN_VNET_HDR => tun.header = value[0] != 0,
            IFLA_TUN_PERSIST => tun.persistent = value[0] != 0,
            IFLA_TUN_MULTI_QUEUE => tun.multi_queue = value[0] != 0,
            IFLA_TUN_NUM_QUEUES => tun.queues = u32::from_ne_bytes(value),
            _ => {}
        }
    }
    tun
}

fn address_message(index: u32, address: IpAddr, prefix_length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(address);
    message.header.prefix_len = prefix_length;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
