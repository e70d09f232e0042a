//! What no connection has room for or knows, what the gates refuse, and what the switch keeps to itself.

use septum::drop_reason::DropReason::*;
use septum_rules::mac::MacAddress;

use super::drafts::*;
use super::{Needs, Provocation, exchange, row};
use crate::craft::*;
use crate::world::{STRICT, atlas};

pub(super) const GATES: &[Provocation] = &[
    row(TcpNoConnection, "an ACK that belongs to nothing", |mint| {
        let numbers = (mint.random.next() as u32, mint.random.next() as u32);
        let ports = (mint.random.port(), 8080);
        one(&carrying(v4(mint), TCP, tcp(ports, numbers, ACK, b"hello")).sealed())
    }),
    exchange(
        TcpOutOfWindow,
        "a segment far outside the receiver's window, where windows are kept strictly",
        |mint| {
            let mut talk = Handshake::new(mint, "api-2");
            let far = talk.segment(mint, 1 << 30);
            talk.say(vec![far; 4]);
            talk.script()
        },
    )
    .by("ops-1")
    .when(Needs::Rules(STRICT)),
    row(SctpNoConnection, "SCTP data that belongs to no association", |mint| {
        let ports = (mint.random.port(), 3868);
        one(&between(mint, "lab-2", SCTP, sctp(ports, &[0, 0, 0, 20, 0, 0, 0, 1])))
    })
    .by("lab-1"),
    row(IcmpNoConnection, "an ICMP error about a packet that was never sent", |mint| {
        let draft = v4(mint);
        let mut quoted = draft.clone();
        (quoted.source, quoted.destination) = (draft.destination, draft.source);
        let quoted = quoted.sealed().frame()[NETWORK..].to_vec();
        one(&carrying(draft, ICMP, icmp(3, 3, [0; 4], &quoted)).sealed())
    }),
    exchange(
        IcmpOutOfWindow,
        "an error that quotes a sequence number that was never sent, where windows are kept strictly",
        |mint| {
            let mut talk = Handshake::new(mint, "api-2");
            let quoted = talk.segment(mint, 1 << 30)[NETWORK..].to_vec();
            talk.answer(mint, ICMP, icmp(3, 4, [0, 0, 5, 0], &quoted), 4);
            talk.script()
        },
    )
    .by("ops-1")
    .when(Needs::Rules(STRICT)),
    row(ReplyUnsolicited, "an echo reply that nobody asked for", |mint| {
        let [high, low] = mint.random.port().to_be_bytes();
        one(&carrying(v4(mint), ICMP, icmp(0, 0, [high, low, 0, 1], &[])).sealed())
    }),
    row(LimitConnections, "more new connections than its limit lets it", |mint| handshakes(mint, 4))
        .by("lab-3"),
    row(ConnectionTableFull, "more connections than the table has room for", |mint| handshakes(mint, 16))
        .by("lab-1")
        .when(Needs::SmallTable)
        .seldom(4),
    row(ConnectionQuota, "more connections than one sender's share", |mint| {
        (0..60)
            .map(|_| {
                let transport = udp((mint.random.port(), 7), &[]);
                between(mint, "lab-2", UDP, transport).frame()
            })
            .collect()
    })
    .by("lab-1")
    .when(Needs::Rules(STRICT)),
    row(HalfOpenQuota, "more handshakes than one sender may leave open", |mint| handshakes(mint, 30))
        .by("lab-1")
        .when(Needs::Rules(STRICT)),
    row(DeniedEgress, "what the sender's gate refuses", |mint| {
        let syn = syn_to(mint, 1);
        one(&between(mint, "pay-1", TCP, syn))
    })
    .by("db-1"),
    row(DeniedIngress, "what the receiver's gate refuses", |mint| {
        let syn = syn_to(mint, 1);
        one(&between(mint, "db-1", TCP, syn))
    })
    .by("ops-1"),
    row(Isolation, "one member of an isolated segment to another", |mint| {
        let syn = syn_to(mint, 80);
        one(&between(mint, "web-2", TCP, syn))
    })
    .by("web-1"),
    row(GroupNoReceiver, "a broadcast that nobody may receive", |mint| {
        let transport = udp((40_000, 1900), b"anybody?");
        let mut draft = between(mint, "pay-1", UDP, transport);
        draft.destination = address("255.255.255.255");
        draft.macs.1 = MacAddress::BROADCAST;
        one(&draft.sealed())
    })
    .by("db-1"),
    row(PolicyStale, "anything, when the policy's last day is over", |mint| one(&v4(mint)))
        .when(Needs::Stale),
    row(ReplyLimited, "more questions in a moment than the switch answers", |mint| {
        let own = &atlas().hosts[mint.from];
        let target = gateway_of(mint, true);
        let ask = arp((own.mac, MacAddress::BROADCAST), 1, (own.mac, own.addresses[0]), target);
        vec![ask; 60]
    })
    .by("ops-1")
    .repeated(5)
    .seldom(40),
    row(Absorbed, "an ARP announcement of one's own address", |mint| {
        let own = &atlas().hosts[mint.from];
        vec![arp((own.mac, MacAddress::BROADCAST), 2, (own.mac, own.addresses[0]), own.addresses[0])]
    }),
];
