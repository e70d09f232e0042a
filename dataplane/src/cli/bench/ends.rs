//! The two hosts between which is measured: a namespace each, with its device and addresses.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use septum_rules::mac::MacAddress;
use septum_rules::workload::Namespace;

use crate::cli::failure::Failure;
use crate::sys::namespace::NetworkNamespace;
use crate::sys::netlink::Netlink;

/// UDP port of frames.
pub(super) const FRAMES: u16 = 9;
/// UDP port of frames whose addresses decide.
pub(super) const PAIRS: u16 = 10;
/// UDP port that no rule admits.
pub(super) const REFUSED: u16 = 11;
/// TCP port of streams.
pub(super) const STREAMS: u16 = 5201;
/// UDP port of round trips, TCP port of connections.
pub(super) const ECHO: u16 = 7001;

/// One host.
#[derive(Debug)]
pub(super) struct End {
    pub(super) namespace: NetworkNamespace,
    pub(super) device: String,
    pub(super) index: u32,
    pub(super) mac: MacAddress,
    /// At least one; flows use all of the client's.
    pub(super) addresses: Vec<Ipv4Addr>,
}

/// Who sends, and who receives.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) client: End,
    pub(super) server: End,
}

impl Ends {
    /// Two namespaces that exist, by what people call them.
    pub(super) fn attach(names: [&str; 2], addresses: [Option<Ipv4Addr>; 2]) -> Result<Self, Failure> {
        let [client, server] = [0, 1].map(|at| {
            let namespace = NetworkNamespace::open(&named(names[at])).map_err(|error| {
                let reason = format_args!("cannot use the namespace `{}`", names[at]);
                Failure::because(Failure::INPUT, reason, &error)
                    .fix("write a name under /run/netns, a path, or pid:1234; others' namespaces need root")
            })?;
            End::find(namespace, names[at], addresses[at])
        });
        Ok(Self { client: client?, server: server? })
    }
}

fn named(text: &str) -> Namespace {
    match text.strip_prefix("pid:").and_then(|process| process.parse().ok()) {
        Some(process) => Namespace::Process(process),
        None if text.starts_with('/') => Namespace::Path(PathBuf::from(text)),
        None => Namespace::Name(text.into()),
    }
}

impl End {
    /// The host of a namespace: its only device beside the loopback, or the one that has `address`.
    fn find(namespace: NetworkNamespace, name: &str, address: Option<Ipv4Addr>) -> Result<Self, Failure> {
        let devices = namespace.run(|| -> io::Result<Vec<_>> {
            let mut netlink = Netlink::open()?;
            let links = netlink.links()?;
            let mut devices = Vec::new();
            for link in links.into_iter().filter(|link| link.name != "lo" && link.up) {
                let addresses = netlink.ipv4_addresses(link.index)?;
                devices.push((link, addresses));
            }
            Ok(devices)
        });
        let unseen = |error: &(dyn std::error::Error + 'static)| {
            let reason = format_args!("cannot look into the namespace `{name}`");
            Failure::because(Failure::ENVIRONMENT, reason, error)
        };
        let devices = devices.map_err(|error| unseen(&error))?.map_err(|error| unseen(&error))?;
        let mut fitting = devices.into_iter().filter(|(_, addresses)| match address {
            Some(wanted) => addresses.contains(&wanted),
            None => !addresses.is_empty(),
        });
        let (Some((link, mut addresses)), None) = (fitting.next(), fitting.next()) else {
            let reason =
                format_args!("the namespace `{name}` has not exactly one device that is up and fits");
            return Err(Failure::new(Failure::INPUT, reason)
                .fix("raise one device with an IPv4 address, or name one with --client-address and --server-address"));
        };
        if let Some(wanted) = address {
            addresses = vec![wanted];
        }
        let Some(mac) = link.mac else {
            let reason = format_args!("the device {} of `{name}` has no Ethernet address", link.name);
            return Err(Failure::new(Failure::INPUT, reason));
        };
        Ok(Self { namespace, device: link.name, index: link.index, mac, addresses })
    }

    /// The first address, with a port.
    pub(super) fn at(&self, port: u16) -> SocketAddr {
        (self.addresses[0], port).into()
    }

    /// Runs `work` inside.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        self.namespace.run(work).map_err(io::Error::other)?
    }

    /// Frames that its device has received so far.
    pub(super) fn received(&self) -> io::Result<u64> {
        // Of the thread that reads, so of the namespace that it is in.
        let table = self.inside(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
        let row =
            table.lines().find_map(|line| line.trim_start().strip_prefix(&self.device)?.strip_prefix(':'));
        let frames = row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok());
        frames.ok_or_else(|| io::Error::other(format!("{} has no counters", self.device)))
    }
}
