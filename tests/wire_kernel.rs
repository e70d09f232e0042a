//! Software segmentation against the kernel's own, byte for byte.
//!
//! A bridge joins two TAP devices. A super-frame is written into one; the other can neither segment nor fill in
//! checksums, so the kernel does both in software (`skb_gso_segment`, `skb_checksum_help`) before we read the
//! frames there. All in a sandbox of its own; where that or ip(8) is missing, the tests say so and count as ignored.

#[path = "wire/fitted.rs"]
mod fitted;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/namespace.rs"]
mod namespace;
#[path = "wire/super_frame.rs"]
mod super_frame;

use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use septum::burst::SLOT;
use septum::port::Offloads;
use septum::sys::namespace::NetworkNamespace;
use septum::sys::tun;
use septum::wire::vnet_hdr::VnetHeader;

use fitted::fitted;
use namespace::needs_tun;
use super_frame::{SOURCE_MAC, SuperFrame, Tunnel};

fn main() -> ExitCode {
    let has_ip = Command::new("ip").arg("-V").output().is_ok();
    if !has_ip {
        eprintln!("skipped: no ip(8) (iproute2) to make a bridge with");
    }
    let mut trials = Vec::new();
    let tells_of_tunnels = kernel::tells_of_tunnels();
    if !tells_of_tunnels {
        eprintln!(
            "skipped: super-frames inside UDP tunnels, of which kernels before Linux 6.17 cannot be told"
        );
    }
    for (name, is_v6, is_tcp) in
        [("tso4", false, true), ("tso6", true, true), ("uso4", false, false), ("uso6", true, false)]
    {
        for is_tagged in [false, true] {
            let kind = if is_tagged { "_tagged" } else { "" };
            for tunnel in std::iter::once(None).chain(Tunnel::VXLAN.map(Some)) {
                let carrier = tunnel.map_or(String::new(), |Tunnel { is_v6, has_checksum, .. }| {
                    let family = if is_v6 { 6 } else { 4 };
                    format!("_in_udp{family}_{}", if has_checksum { "with_checksum" } else { "without" })
                });
                let test = move || agrees(is_v6, is_tcp, is_tagged, tunnel);
                let trial = Trial::test(format!("{name}{kind}{carrier}_agrees_with_the_kernel"), test);
                let is_ignored = !has_ip || (tunnel.is_some() && !tells_of_tunnels);
                trials.push(if is_ignored { trial.with_ignored_flag(true) } else { needs_tun(trial) });
            }
        }
    }
    namespace::run_trials(trials, None)
}

/// Super-frames of one kind: every interesting size, and the flags that segmentation handles.
fn super_frames(is_v6: bool, is_tcp: bool, is_tagged: bool, tunnel: Option<Tunnel>) -> Vec<SuperFrame> {
    let mut frames = Vec::new();
    for (payload, size) in [
        (0, 0),
        (1, 0),
        (1399, 0),
        (100, 1000),
        (1000, 1000),
        (1001, 1000),
        (5000, 1000),
        (4097, 48),
        (60_000, 1400),
    ] {
        // In a tunnel, none is plain.
        if tunnel.is_some() && (size == 0 || payload <= size) {
            continue;
        }
        for (flags, option_words) in [(0x10, 0), (0x18, 3), (0x19, 10), (0xd9, 3), (0x99, 1)] {
            // The kernel takes options for payload when it asks whether there is more than one segment
            // (`virtio_net_hdr_to_skb`), and then drops a super-frame that has only one.
            if (payload..payload + usize::from(option_words) * 4).contains(&size) && size != 0 {
                continue;
            }
            let payload = (0..payload).map(|at: usize| (at * 31 + at / 256) as u8).collect();
            frames.push(SuperFrame {
                is_v6,
                is_tcp,
                is_tagged,
                payload,
                size: size as u16,
                flags,
                option_words,
                tunnel,
            });
            if !is_tcp {
                break;
            }
        }
    }
    frames
}

fn agrees(is_v6: bool, is_tcp: bool, is_tagged: bool, tunnel: Option<Tunnel>) -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    namespace.run(|| {
        let bench = Bench::new()?;
        for frame in super_frames(is_v6, is_tcp, is_tagged, tunnel) {
            let bytes = frame.bytes();
            let ours = fitted(&bytes, Offloads::NONE);
            rustix::io::write(&bench.near, &bytes)?;
            for (number, segment) in ours.iter().enumerate() {
                let kernels = bench.read().map_err(|error| {
                    format!(
                        "{}: segment {number} of {}",
                        error.message().unwrap_or_default(),
                        described(&frame)
                    )
                })?;
                if kernels[VnetHeader::LENGTH..] != segment[VnetHeader::LENGTH..] {
                    return Err(difference(&frame, number, &kernels, segment).into());
                }
            }
        }
        bench.is_quiet()
    })?
}

fn ip(arguments: &str) -> Result<(), Failed> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn described(frame: &SuperFrame) -> String {
    format!("{} bytes in {:?}", frame.payload.len(), SuperFrame { payload: Vec::new(), ..frame.clone() })
}

fn difference(frame: &SuperFrame, number: usize, kernels: &[u8], ours: &[u8]) -> String {
    let at = kernels.iter().zip(ours).skip(VnetHeader::LENGTH).position(|(theirs, ours)| theirs != ours);
    let short = |bytes: &[u8]| format!("{} bytes: {:02x?}", bytes.len(), &bytes[..bytes.len().min(100)]);
    format!(
        "segment {number} of {} differs at {at:?} of the frame\nkernel {}\nours   {}",
        described(frame),
        short(kernels),
        short(ours)
    )
}

/// Two TAPs without offload, bridged.
struct Bench {
    near: OwnedFd,
    far: OwnedFd,
}

impl Bench {
    /// In the calling thread's network namespace.
    fn new() -> Result<Self, Failed> {
        let tap = |name| -> Result<OwnedFd, Failed> {
            let queue = tun::open()?;
            tun::attach(&queue, name, true)?;
            tun::set_header(&queue)?;
            Ok(queue)
        };
        let bench = Self { near: tap("near")?, far: tap("far")? };
        ip("link add bridge type bridge mcast_snooping 0")?;
        for device in ["near", "far"] {
            ip(&format!("link set {device} master bridge up"))?;
        }
        ip("link set bridge up")?;
        Ok(bench)
    }

    /// The next frame that is one of ours: the kernel says things of its own too.
    fn read(&self) -> Result<Vec<u8>, Failed> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Some(frame) = self.read_within(Duration::from_millis(100))? {
                return Ok(frame);
            }
        }
        Err("the kernel made fewer segments".into())
    }

    fn read_within(&self, time: Duration) -> Result<Option<Vec<u8>>, Failed> {
        let mut ready = [PollFd::new(&self.far, PollFlags::IN)];
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        if poll(&mut ready, Some(&time))? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; SLOT];
        let length = rustix::io::read(&self.far, &mut frame)?;
        frame.truncate(length);
        let is_ours =
            frame.get(VnetHeader::LENGTH + 6..).is_some_and(|source| source.starts_with(&SOURCE_MAC));
        Ok(is_ours.then_some(frame))
    }

    fn is_quiet(&self) -> Result<(), Failed> {
        match self.read_within(Duration::from_millis(100))? {
            None => Ok(()),
            Some(_) => Err("the kernel made more segments".into()),
        }
    }
}
