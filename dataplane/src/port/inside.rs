//! The workload's side of a device: what the switch sets there when a policy asks it to.
//!
//! Runs on a thread inside the workload's namespace. A device that the switch made is not cleaned up here when a
//! step fails: it goes with its queues. One that existed gets back what it had.

use std::net::IpAddr;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use septum_rules::mac::MacAddress;
use septum_rules::segment::Segment;
use septum_rules::workload::Workload;

use super::error::PortError;
use crate::sys::netlink::{Link, Netlink};
use crate::sys::sysctl::{self, Family};

/// What the workload's end of a device gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Its Ethernet address.
    pub mac: Option<MacAddress>,
    /// Its addresses, each with the prefix length of its subnet.
    pub addresses: Vec<(IpAddr, u8)>,
    /// At most one default route a family.
    pub routes: Vec<DefaultRoute>,
}

/// A way out of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The segment's gateway.
    pub gateway: IpAddr,
    /// The gateway lies in none of the workload's subnets: the route says that it is a neighbour all the same.
    pub on_link: bool,
}

impl Inside {
    /// What a workload of this segment gets. A gateway serves the addresses of its family; one in the subnet of an
    /// address is preferred.
    pub fn of(workload: &Workload, segment: &Segment) -> Self {
        let addresses: Vec<_> = workload
            .addresses
            .iter()
            .map(|address| {
                let host = if address.is_ipv4() { 32 } else { 128 };
                (*address, segment.subnet_of(*address).map_or(host, |subnet| subnet.len()))
            })
            .collect();
        let mut routes = Vec::new();
        for is_ipv4 in [true, false] {
            let of_family = |address: &IpAddr| address.is_ipv4() == is_ipv4;
            if !workload.addresses.iter().any(of_family) {
                continue;
            }
            let near = |gateway: &IpAddr| {
                let subnet = segment.subnet_of(*gateway);
                subnet
                    .is_some_and(|subnet| workload.addresses.iter().any(|address| subnet.contains(*address)))
            };
            let gateways = || segment.gateways.iter().copied().filter(of_family);
            let chosen = gateways().find(near).or_else(|| gateways().next());
            routes.extend(chosen.map(|gateway| DefaultRoute { gateway, on_link: !near(&gateway) }));
        }
        Self { mac: workload.mac, addresses, routes }
    }

    /// Sets all this on `link`, and the loopback device up. When a step is refused, `link` has what it had before.
    ///
    /// # Errors
    /// The first step that the kernel refuses.
    pub(super) fn configure(&self, netlink: &mut Netlink, link: &Link, mtu: u16) -> Result<(), PortError> {
        let mut added = Vec::new();
        let outcome = self.apply(netlink, link, mtu, &mut added);
        if outcome.is_err() {
            restore(netlink, link, &added);
        }
        outcome
    }

    fn apply(
        &self,
        netlink: &mut Netlink,
        link: &Link,
        mtu: u16,
        added: &mut Vec<(IpAddr, u8)>,
    ) -> Result<(), PortError> {
        let index = link.index;
        let step = |step| PortError::step(&link.name, step);
        raise_loopback(netlink).map_err(PortError::step("lo", "raise"))?;
        if let Some(mac) = self.mac.filter(|mac| link.mac != Some(*mac)) {
            netlink.set_mac(index, mac).map_err(step("set the Ethernet address of"))?;
        }
        set_mtu(netlink, link, mtu)?;
        quieten(&link.name);
        for (address, length) in &self.addresses {
            match netlink.add_address(index, *address, *length) {
                Ok(()) => added.push((*address, *length)),
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => return Err(step("add an address to")(error)),
            }
        }
        netlink.set_up(index, true).map_err(step("raise"))?;
        // The question has the kernel's link watcher (Linux 6.8) see the carrier now; left to itself it takes up to a
        // second, in which IPv6 neither asks nor answers.
        netlink.link(&link.name).map_err(step("find"))?;
        for route in &self.routes {
            match netlink.add_default_route(index, route.gateway, route.on_link) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                    return Err(step("add a default route over")(error));
                }
                _ => {}
            }
        }
        await_addresses(&link.name);
        Ok(())
    }
}

/// Waits until IPv6 addresses can be used. The kernel takes them into use on a worker of its own, within a millisecond
/// or some when it is busy, and loses what arrives before that. One that never settles (a device without a carrier) is
/// no reason to fail.
fn await_addresses(device: &str) {
    // linux/if_addr.h
    const IFA_F_TENTATIVE: u32 = 0x40;
    let deadline = Instant::now() + Duration::from_millis(200);
    while Instant::now() < deadline {
        let Ok(table) = fs::read_to_string("/proc/thread-self/net/if_inet6") else { return };
        // Address, index, prefix length, scope, flags (all hexadecimal), and the device's name.
        let is_tentative = table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(4);
            let flags = fields.next().and_then(|flags| u32::from_str_radix(flags, 16).ok());
            fields.next() == Some(device) && flags.is_some_and(|flags| flags & IFA_F_TENTATIVE != 0)
        });
        if !is_tentative {
            return;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// As far as it can be; routes go with the addresses.
fn restore(netlink: &mut Netlink, link: &Link, added: &[(IpAddr, u8)]) {
    for (address, length) in added {
        let _ = netlink.delete_address(link.index, *address, *length);
    }
    let _ = netlink.set_mtu(link.index, link.mtu);
    if let Some(mac) = link.mac {
        let _ = netlink.set_mac(link.index, mac);
    }
    let _ = netlink.set_up(link.index, link.up);
}

/// Sets the MTU unless it is that already: a device made for this user lets the user attach, not change it.
pub(super) fn set_mtu(netlink: &mut Netlink, link: &Link, mtu: u16) -> Result<(), PortError> {
    if link.mtu == u32::from(mtu) {
        return Ok(());
    }
    netlink.set_mtu(link.index, mtu.into()).map_err(PortError::step(&link.name, "set the MTU of"))
}

/// A workload learns nothing from router advertisements, makes its link-local address from its MAC as the guard
/// expects, and uses it at once.
fn quieten(device: &str) {
    for (name, value) in [
        ("accept_ra", 0),
        ("router_solicitations", 0),
        ("addr_gen_mode", 0),
        ("accept_dad", 0),
        ("dad_transmits", 0),
    ] {
        sysctl::set(Family::Ipv6, device, name, value);
    }
}

fn raise_loopback(netlink: &mut Netlink) -> io::Result<()> {
    let loopback = netlink.link("lo")?;
    if loopback.up { Ok(()) } else { netlink.set_up(loopback.index, true) }
}

#[cfg(test)]
mod tests {
    use septum_rules::identity::SegmentId;
    use septum_rules::source::Span;

    use super::*;

    #[test]
    fn a_workload_gets_its_subnets_and_one_gateway_a_family() {
        let segment = Segment {
            name: "dmz".into(),
            vlan: None,
            subnets: ["10.0.0.0/24", "10.1.0.0/16", "fd00::/64"].map(|text| text.parse().unwrap()).into(),
            gateways: ["10.0.0.1", "10.1.0.1", "fd00::1"].map(|text| text.parse().unwrap()).into(),
            dns: Vec::new(),
            isolated: false,
            audit: false,
            labels: Default::default(),
            mtu: Segment::DEFAULT_MTU,
            span: Span::default(),
        };
        let workload = |addresses: &[&str]| Workload {
            name: "web".into(),
            segment: SegmentId(0),
            mac: None,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            labels: Default::default(),
            promiscuous: false,
            open: Default::default(),
            audit: false,
            port: None,
            limits: Default::default(),
            span: Span::default(),
        };
        let gateway = |text: &str, on_link| DefaultRoute { gateway: text.parse().unwrap(), on_link };

        let inside = Inside::of(&workload(&["10.1.0.9", "fd00::9"]), &segment);
        assert_eq!(inside.addresses.iter().map(|(_, length)| *length).collect::<Vec<_>>(), [16, 64]);
        assert_eq!(inside.routes, [gateway("10.1.0.1", false), gateway("fd00::1", false)]);

        let alone = Segment { gateways: vec!["10.0.0.1".parse().unwrap()], ..segment };
        assert_eq!(Inside::of(&workload(&["10.1.0.9"]), &alone).routes, [gateway("10.0.0.1", true)]);
        assert_eq!(Inside::of(&workload(&["fd00::9"]), &alone).routes, []);
    }
}
