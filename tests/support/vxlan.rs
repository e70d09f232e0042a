//! The kernel's VXLAN devices between namespaces of tests.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use septum::sys::namespace::NetworkNamespace;

/// What carries a tunnel: the family of its outer packets, and whether those have UDP checksums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier {
    pub(crate) ipv4: bool,
    pub(crate) has_checksums: bool,
}

/// Every kind of carrier.
pub(crate) const CARRIERS: [Carrier; 4] = [
    Carrier { ipv4: true, has_checksums: false },
    Carrier { ipv4: true, has_checksums: true },
    Carrier { ipv4: false, has_checksums: false },
    Carrier { ipv4: false, has_checksums: true },
];

/// The trial, or what counts as ignored where no VXLAN device can be made.
pub(crate) fn needs_vxlan(trial: Trial) -> Trial {
    // The module is not loaded from within a user namespace.
    let has_driver = Path::new("/sys/module/vxlan").exists();
    let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !has_driver || !has_ip {
        eprintln!("skipped: {}, as that needs ip(8) and `modprobe vxlan`", trial.name());
    }
    let is_ignored = trial.has_ignored_flag() || !has_driver || !has_ip;
    trial.with_ignored_flag(is_ignored)
}

impl Carrier {
    /// The port of its tunnels: what receives without checksums cannot share one with what does not.
    pub(crate) fn port(self) -> u16 {
        4789 + u16::from(!self.ipv4) * 2 + u16::from(self.has_checksums)
    }

    /// The addresses of end `end` inside the tunnel.
    pub(crate) fn inside(self, end: u8) -> [IpAddr; 2] {
        let number = self.port() - 4700;
        [format!("10.{number}.0.{end}"), format!("fd{number:02}::{end}")]
            .map(|address| address.parse().expect("an address"))
    }

    /// Makes end `end` of a tunnel in `namespace`, from address `local` to address `remote`.
    pub(crate) fn add(
        self,
        namespace: &NetworkNamespace,
        end: u8,
        local: IpAddr,
        remote: IpAddr,
    ) -> Result<End<'_>, Failed> {
        let port = self.port();
        let checksums = match (self.ipv4, self.has_checksums) {
            (true, true) => "udpcsum",
            (true, false) => "noudpcsum",
            (false, true) => "noudp6zerocsumtx",
            (false, false) => "udp6zerocsumtx udp6zerocsumrx",
        };
        let device = format!("vxlan{port}");
        let tunnel = format!("id {port} dstport {port} local {local} remote {remote} {checksums}");
        let [inside_v4, inside_v6] = self.inside(end);
        let made = End { namespace, device: device.clone() };
        namespace.run(|| {
            ip(&format!("link add {device} type vxlan {tunnel}"))?;
            ip(&format!("address add {inside_v4}/24 dev {device}"))?;
            ip(&format!("address add {inside_v6}/64 dev {device} nodad"))?;
            ip(&format!("link set {device} up"))
        })??;
        Ok(made)
    }
}

/// An end of a tunnel, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct End<'a> {
    namespace: &'a NetworkNamespace,
    device: String,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        // It was never made, or its namespace ends anyway.
        let _ = self.namespace.run(|| ip(&format!("link delete {}", self.device)));
    }
}

fn ip(arguments: &str) -> Result<(), Failed> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
