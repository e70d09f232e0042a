//! Devices that exist, lack something, disappear, or are held by others; frames exactly as they were sent.

use libtest_mimic::{Failed, Trial};
use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender};
use septum::drop_reason::UndeliveredReason;
use septum::port::{AnyQueue, Device, Inside, Port, PortError, PortQueue, Substitute};
use septum::sys::namespace::NetworkNamespace;
use septum::sys::netlink::{Link, Netlink};
use septum::wire::vnet_hdr::VnetHeader;
use septum_rules::workload::{PortKind, PortSpec};

use crate::namespace::needs_tun;
use crate::ports::{Host, PATIENCE, await_gone, receive_until, tap, transmit};

type Outcome = Result<(), Failed>;
type OfKind = fn(Substitute) -> Outcome;
type Named<Test> = (&'static str, Test);

const HEADER: usize = VnetHeader::LENGTH;

pub(crate) fn trials() -> Vec<Trial> {
    let with_tun: [Named<fn() -> Outcome>; 6] = [
        ("device::a_persistent_tap_is_adopted_again", a_persistent_tap_is_adopted_again),
        ("device::what_is_unfit_has_its_own_error", what_is_unfit_has_its_own_error),
        ("device::a_failed_step_leaves_nothing", a_failed_step_leaves_nothing),
        ("device::beside_the_switch_it_is_left_down", beside_the_switch_it_is_left_down),
        ("packet::a_tap_that_another_holds_is_joined", a_tap_that_another_holds_is_joined),
        ("packet::down_is_not_gone", down_is_not_gone),
    ];
    let mut trials = vec![
        Trial::test("device::a_missing_namespace_says_where", a_missing_namespace_says_where),
        Trial::test("veth::gone_with_the_workloads_namespace", gone_with_the_workloads_namespace),
    ];
    trials.extend(with_tun.map(|(name, test)| needs_tun(Trial::test(name, test))));
    let of_both_kinds: [Named<OfKind>; 4] = [
        ("the_inside_is_configured", the_inside_is_configured),
        ("raw_frames_pass_unchanged_tags_included", raw_frames_pass_unchanged),
        ("a_deleted_device_is_gone", a_deleted_device_is_gone),
        ("dropping_the_port_removes_the_device", dropping_the_port_removes_the_device),
    ];
    for (name, test) in of_both_kinds {
        trials.push(needs_tun(Trial::test(format!("tap::{name}"), move || test(Substitute::Never))));
        trials.push(Trial::test(format!("veth::{name}"), move || test(Substitute::Always)));
    }
    trials
}

fn the_inside_is_configured(substitute: Substitute) -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let inside = Inside {
        mac: Some("02:00:0a:0a:00:0b".parse()?),
        addresses: vec![("10.10.0.11".parse()?, 24), ("fd00:10::b".parse()?, 64)],
        routes: vec![
            septum::port::inside::DefaultRoute { gateway: "10.10.0.1".parse()?, on_link: false },
            septum::port::inside::DefaultRoute { gateway: "fd00:10::1".parse()?, on_link: false },
        ],
    };
    let spec = PortSpec { mtu: 1400, ..tap("eth0") };
    let _port = Port::open_in(&spec, &namespace, &inside, 1, substitute)?;
    let link = link_in(&namespace, "eth0")?;
    assert_eq!((link.mac, link.mtu, link.up), (inside.mac, 1400, true));
    assert!(link_in(&namespace, "lo")?.up);
    namespace.run(|| -> Result<(), Failed> {
        // Bound at once: no address waits for duplicate address detection.
        for (address, _) in &inside.addresses {
            std::net::UdpSocket::bind((*address, 0))?;
        }
        // Whoever has a default route can connect a datagram socket to anywhere, from its own address.
        for (far, own) in [("198.51.100.1:9", "10.10.0.11"), ("[2001:db8::1]:9", "fd00:10::b")] {
            let any = if far.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = std::net::UdpSocket::bind(any)?;
            socket.connect(far)?;
            assert_eq!(socket.local_addr()?.ip(), own.parse::<std::net::IpAddr>()?);
        }
        Ok(())
    })?
}

/// A frame for nobody: an EtherType for local experiments (IEEE 802), so no stack answers it.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 8, 0x88, 0xb5];
    frame.extend_from_slice(payload);
    frame
}

fn raw_frames_pass_unchanged(substitute: Substitute) -> Result<(), Failed> {
    let mut host = Host::new(1, "eth0", substitute)?;
    let mut queues = host.port.take_queues();
    let (mut sender, mut receiver) = raw(&host.namespace, "eth0")?;

    let plain = frame(&[0x5a; 86]);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0x00, 0x20, 0x0a]);
    for sent in [&plain, &tagged] {
        sender.send_to(sent, None).ok_or("no buffer")??;
        let received = receive_until(&mut queues, |frame| frame[HEADER..].starts_with(&sent[..6]))
            .ok_or_else(|| format!("a frame of {} bytes did not come", sent.len()))?;
        assert_eq!(VnetHeader::read(&received), Some(VnetHeader::default()));
        assert_eq!(received[HEADER..], sent[..]);
    }

    let mut back = vec![0; HEADER];
    back.extend_from_slice(&frame(&[0xa5; 100]));
    assert_eq!(transmit(&mut queues[0], &back).transmitted, 1);
    for _ in 0..100 {
        let heard = receiver.next()?;
        if heard[..14] == back[HEADER..HEADER + 14] {
            assert_eq!(heard, &back[HEADER..]);
            return Ok(());
        }
    }
    Err("the raw receiver never heard the frame".into())
}

fn a_deleted_device_is_gone(substitute: Substitute) -> Result<(), Failed> {
    let mut host = Host::new(1, "eth0", substitute)?;
    let mut queues = host.port.take_queues();
    let link = link_in(&host.namespace, "eth0")?;
    host.run(|| Netlink::open()?.delete_link(link.index))?;
    expect_gone(&mut queues)
}

fn dropping_the_port_removes_the_device(substitute: Substitute) -> Result<(), Failed> {
    let mut host = Host::new(1, "eth0", substitute)?;
    let mut queues = host.port.take_queues();
    drop(host.port);
    assert_eq!(
        link_in(&host.namespace, "eth0").err().and_then(|error| error.raw_os_error()),
        Some(NO_DEVICE)
    );
    expect_gone(&mut queues)
}

fn gone_with_the_workloads_namespace() -> Result<(), Failed> {
    let mut host = Host::new(1, "eth0", Substitute::Always)?;
    let mut queues = host.port.take_queues();
    // The last handle: no process is in it.
    drop(host.namespace);
    expect_gone(&mut queues)
}

fn a_persistent_tap_is_adopted_again() -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let inside = Inside { addresses: vec![("10.0.0.1".parse()?, 24)], ..Inside::default() };
    let spec = PortSpec { persistent: true, ..tap("kept") };
    let open = || Port::open_in(&spec, &namespace, &inside, 2, Substitute::Never);
    drop(open()?);
    let link = link_in(&namespace, "kept")?;
    assert!(link.tun.is_some_and(|tun| tun.persistent && tun.queues == 0), "{link:?}");
    let mut again = open()?;
    assert_eq!(link_in(&namespace, "kept")?.index, link.index);
    assert_eq!(again.take_queues().len(), 2);
    drop(again);
    link_in(&namespace, "kept")?;
    Ok(())
}

fn what_is_unfit_has_its_own_error() -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let open = |device: &str, kind| {
        let spec = PortSpec { kind, ..tap(device) };
        Port::open_in(&spec, &namespace, &Inside::default(), 1, Substitute::Never)
    };
    let (_tap, _tun) = namespace.run(|| -> std::io::Result<_> {
        Netlink::open()?.add_veth("va", "vb", None)?;
        // An independent maker of devices: one queue, no virtio header.
        Ok((
            tun_tap::Iface::without_packet_info("single", tun_tap::Mode::Tap)?,
            tun_tap::Iface::without_packet_info("layer3", tun_tap::Mode::Tun)?,
        ))
    })??;
    let held = open("held", PortKind::Tap)?;

    let refusals = [
        open("va", PortKind::Tap).map(drop),
        open("single", PortKind::Tap).map(drop),
        open("layer3", PortKind::Tap).map(drop),
        open("held", PortKind::Tap).map(drop),
        open("nothing", PortKind::Packet).map(drop),
        open("a-name-that-is-too-long", PortKind::Tap).map(drop),
    ];
    drop(held);
    let [veth, single, layer3, held, missing, name] = refusals;
    assert!(matches!(&veth, Err(PortError::OtherKind { kind, .. }) if kind.contains("veth")), "{veth:?}");
    assert!(matches!(single, Err(PortError::OtherFlags { lacks: "multi_queue", .. })), "{single:?}");
    assert!(matches!(&layer3, Err(PortError::OtherKind { kind, .. }) if kind.contains("TUN")), "{layer3:?}");
    assert!(matches!(held, Err(PortError::Busy { .. })), "{held:?}");
    assert!(matches!(missing, Err(PortError::Missing { .. })), "{missing:?}");
    assert!(matches!(&name, Err(error @ PortError::Name { .. }) if error.is_bad_input()), "{name:?}");
    Ok(())
}

fn a_failed_step_leaves_nothing() -> Result<(), Failed> {
    for substitute in [Substitute::Never, Substitute::Always] {
        let namespace = NetworkNamespace::anonymous()?;
        // A group address is no station's: the kernel refuses it when the device is made already.
        let inside = Inside { mac: Some("01:00:5e:00:00:01".parse()?), ..Inside::default() };
        let refused = Port::open_in(&tap("eth0"), &namespace, &inside, 2, substitute);
        assert!(matches!(&refused, Err(PortError::Step { .. })), "{refused:?}");
        assert_eq!(link_in(&namespace, "eth0").err().and_then(|error| error.raw_os_error()), Some(NO_DEVICE));
    }
    Ok(())
}

fn beside_the_switch_it_is_left_down() -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let spec = PortSpec { configure: false, mtu: 9000, ..tap("vm0") };
    let inside = Inside { mac: Some("02:00:00:00:00:01".parse()?), ..Inside::default() };
    let _port = Port::open_in(&spec, &namespace, &inside, 1, Substitute::Never)?;
    let link = link_in(&namespace, "vm0")?;
    assert!(!link.up && link.mac != inside.mac && link.mtu == 9000, "{link:?}");
    Ok(())
}

fn a_missing_namespace_says_where() -> Result<(), Failed> {
    let spec = PortSpec {
        namespace: Some(septum_rules::workload::Namespace::Name("septum-test-none".into())),
        ..tap("eth0")
    };
    let error = match Port::open(&spec, &Inside::default(), 1, Substitute::IfNeeded) {
        Err(error) => error,
        Ok(port) => return Err(format!("{port:?}").into()),
    };
    assert_eq!(error.to_string(), "there is no network namespace at /run/netns/septum-test-none");
    assert_eq!(error.fix(), "make it first: `ip netns add septum-test-none`");
    Ok(())
}

/// As with a hypervisor: another process holds the TAP's descriptor, the switch reaches the guest through the device.
fn a_tap_that_another_holds_is_joined() -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let guest = namespace.run(|| tun_tap::Iface::without_packet_info("guest", tun_tap::Mode::Tap))??;
    let spec = PortSpec { kind: PortKind::Packet, configure: false, ..tap("guest") };
    let mut port = Port::open_in(&spec, &namespace, &Inside::default(), 2, Substitute::Never)?;
    assert_eq!(port.device(), Device::Packet);
    let mut queues = port.take_queues();

    let out = frame(b"from the guest, padded to what an Ethernet frame has at least");
    guest.send(&out)?;
    let received =
        receive_until(&mut queues, |frame| frame[HEADER..].starts_with(&out[..6])).ok_or("no frame")?;
    assert_eq!(received[HEADER..], out[..]);

    // A checksum left to the device: this guest's has no offload, so the kernel fills it in.
    let mut back = vec![0; HEADER];
    VnetHeader {
        flags: VnetHeader::NEEDS_CHECKSUM,
        checksum_start: 34,
        checksum_offset: 2,
        ..VnetHeader::default()
    }
    .write(&mut back);
    back.extend_from_slice(&frame(&[0; 20]));
    back.extend_from_slice(&[0x12, 0x34, 0, 0, 0x56, 0x78]);
    back.resize(HEADER + 60, 0);
    assert_eq!(transmit(&mut queues[0], &back).transmitted, 1);
    // The first that it hears: the host's own stack kept still.
    let mut buffer = [0; 2000];
    let length = guest.recv(&mut buffer)?;
    assert_eq!(buffer[..14], back[HEADER..HEADER + 14], "{length} bytes");
    assert_eq!((length, u16::from_be_bytes([buffer[36], buffer[37]])), (60, !(0x1234 + 0x5678)));
    Ok(())
}

fn down_is_not_gone() -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let guest = namespace.run(|| tun_tap::Iface::without_packet_info("guest", tun_tap::Mode::Tap))??;
    let spec = PortSpec { kind: PortKind::Packet, configure: false, ..tap("guest") };
    let mut port = Port::open_in(&spec, &namespace, &Inside::default(), 1, Substitute::Never)?;
    let mut queues = port.take_queues();
    let link = link_in(&namespace, "guest")?;
    let set_up = |up| namespace.run(|| Netlink::open()?.set_up(link.index, up));

    set_up(false)??;
    let mut burst = septum::burst::Burst::default();
    for _ in 0..5 {
        queues[0].receive(&mut burst)?;
    }
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(&frame(&[0; 50]));
    let outcome = transmit(&mut queues[0], &bytes);
    assert_eq!(outcome.undelivered[UndeliveredReason::PortDown.index()], 1, "{outcome:?}");

    set_up(true)??;
    guest.send(&bytes[HEADER..])?;
    receive_until(&mut queues, |frame| frame[HEADER..].starts_with(&bytes[HEADER..]))
        .ok_or("no frame after up")?;

    drop(guest);
    expect_gone(&mut queues)
}

const NO_DEVICE: i32 = 19;

/// Every queue says so, says it again, and counts what is sent to it.
fn expect_gone(queues: &mut [AnyQueue]) -> Result<(), Failed> {
    for queue in queues {
        await_gone(queue).ok_or("the queue never said that its device is gone")?;
        await_gone(queue).ok_or("the queue said so only once")?;
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(&frame(&[0; 50]));
        let outcome = transmit(queue, &bytes);
        assert_eq!(outcome.undelivered[UndeliveredReason::PortGone.index()], 1, "{outcome:?}");
    }
    Ok(())
}

fn link_in(namespace: &NetworkNamespace, name: &str) -> std::io::Result<Link> {
    namespace.run(|| Netlink::open()?.link(name)).map_err(std::io::Error::other)?
}

pub(crate) type Raw = (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>);

/// An independent raw sender and receiver on a device.
pub(crate) fn raw(namespace: &NetworkNamespace, device: &str) -> Result<Raw, Failed> {
    namespace.run(|| -> Result<_, Failed> {
        let found = datalink::interfaces().into_iter().find(|interface| interface.name == device);
        let config = Config { read_timeout: Some(PATIENCE), ..Config::default() };
        match datalink::channel(&found.ok_or("no such device")?, config)? {
            Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
            _ => Err("not an Ethernet channel".into()),
        }
    })?
}
