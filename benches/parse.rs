//! Parsing, against etherparse; checksums and segmentation.
//!
//! `cargo bench -p septum --bench parse`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::{PacketBuilder, SlicedPacket};
use septum::burst::SLOT;
use septum::port::Offloads;
use septum::wire::checksum::Sum;
use septum::wire::parse::parse;
use septum::wire::segment::fit;
use septum::wire::vnet_hdr::VnetHeader;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2(MACS.0, MACS.1)
}

fn v4() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
}

fn v6() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let address = |last| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).octets();
    ethernet().ipv6(address(1), address(2), 64)
}

fn frame(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame);
    frame
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let udp = |payload: usize| {
        frame(|out| v4().udp(4000, 53).write(out, &vec![7; payload]).expect("a Vec takes everything"))
    };
    vec![
        ("udp4-64", udp(22)),
        ("udp4-1500", udp(1472)),
        ("tcp4-64", frame(|out| v4().tcp(4000, 443, 1, 9).ack(2).write(out, &[7; 10]).expect("a Vec"))),
        ("udp6-64", frame(|out| v6().udp(4000, 53).write(out, &[7; 2]).expect("a Vec"))),
        ("tcp6-78", frame(|out| v6().tcp(4000, 443, 1, 9).ack(2).write(out, &[7; 4]).expect("a Vec"))),
        (
            "vlan-udp4-64",
            frame(|out| {
                let tagged = ethernet().single_vlan(etherparse::VlanId::try_new(10).expect("a VLAN id"));
                let packet = tagged.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(4000, 53);
                packet.write(out, &[7; 18]).expect("a Vec");
            }),
        ),
        ("icmp4-64", frame(|out| v4().icmpv4_echo_request(1, 1).write(out, &[7; 22]).expect("a Vec"))),
    ]
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let vnet = VnetHeader::default();
    for (name, frame) in frames() {
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(&frame), black_box(&vnet))));
    }
    let partial = VnetHeader {
        flags: VnetHeader::NEEDS_CHECKSUM,
        checksum_start: 34,
        checksum_offset: 6,
        ..VnetHeader::default()
    };
    let (_, udp) = &frames()[0];
    group.bench_function("udp4-64-partial", |bencher| {
        bencher.iter(|| parse(black_box(udp), black_box(&partial)))
    });
    group.finish();

    let mut group = criterion.benchmark_group("etherparse");
    for (name, frame) in frames() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| SlicedPacket::from_ethernet(black_box(&frame)).is_ok());
        });
    }
    group.finish();
}

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for length in [20, 64, 1460, 65_000] {
        let bytes = vec![7; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(length.to_string(), |bencher| {
            bencher.iter(|| Sum::default().add_bytes(black_box(&bytes)).checksum());
        });
    }
    group.finish();
}

fn segmentation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    let payload = vec![7; 64 * 1000];
    let packet = frame(|out| v4().tcp(4000, 443, 1, 9).ack(2).write(out, &payload).expect("a Vec"));
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CHECKSUM,
        gso_type: 1,
        gso_size: 1460,
        header_length: 54,
        checksum_start: 34,
        checksum_offset: 16,
        ..VnetHeader::default()
    };
    let mut frame = vec![0; VnetHeader::LENGTH];
    vnet.write(&mut frame);
    frame.extend(packet);
    let mut scratch = vec![0; SLOT];
    group.throughput(Throughput::Bytes(payload.len() as u64));
    let checksum_only = Offloads { checksum: true, ..Offloads::NONE };
    for (name, offloads) in
        [("tcp4-64k-checksums-filled", Offloads::NONE), ("tcp4-64k-checksums-left", checksum_only)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                fit(black_box(&mut frame), offloads, &mut scratch, |segment| {
                    black_box(segment.len());
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parsing, checksums, segmentation);
criterion_main!(benches);
