//! What an ICMP error quotes: read when it is cut as the RFCs allow, refused when it could mislead.

use septum::wire::quoted::{Quoted, quoted};
use septum_rules::proto::{Layer4, Protocol};

use crate::frames::*;

fn of_v4(quote: &[u8]) -> Option<Quoted> {
    let frame = ipv4(1, &[&[3, 4, 0, 0, 0, 0, 5, 0xdc], quote].concat());
    quoted(&frame, &ip_of(&frame).1)
}

fn of_v6(quote: &[u8]) -> Option<Quoted> {
    let frame = ipv6(58, &[&[2, 0, 0, 0, 0, 0, 5, 0xdc], quote].concat());
    quoted(&frame, &ip_of(&frame).1)
}

#[test]
fn eight_bytes_behind_the_header_suffice() {
    let tcp = &tcp4()[IP..];
    let quote = of_v4(&tcp[..28]).expect("RFC 792's least");
    assert_eq!(quote.flow.layer4, Layer4::ports(Protocol::TCP, 4000, 443));
    assert_eq!(quote.tcp_sequence, Some(1));
    assert_eq!(of_v4(&tcp[..27]), None);
    let options = &with_options(tcp4(), &[1; 8])[IP..];
    assert_eq!(of_v4(&options[..36]), Some(quote));
    assert_eq!(of_v4(&options[..35]), None);

    let udp = &udp6()[IP..];
    assert_eq!(
        of_v6(&udp[..48]).map(|quote| quote.flow.layer4),
        Some(Layer4::ports(Protocol::UDP, 4000, 53))
    );
    assert_eq!(of_v6(&udp[..47]), None);
}

#[test]
fn a_header_that_routers_changed_is_read() {
    let changed = with(udp4(), IP + 8, &[1, 17, 0xde, 0xad]);
    assert!(of_v4(&changed[IP..]).is_some());
}

#[test]
fn an_echo_is_known_by_its_identifier() {
    assert_eq!(of_v4(&ping4()[IP..]).map(|quote| quote.echo_identifier), Some(0x1234));
    assert_eq!(of_v6(&ping6()[IP..]).map(|quote| quote.echo_identifier), Some(0x1234));
}

#[test]
fn extension_headers_and_first_fragments_are_walked() {
    let udp = &udp6()[V6_PAYLOAD..];
    let chain = [&[44, 0, 1, 4, 0, 0, 0, 0], &[17, 0, 0, 1, 0, 0, 0, 9], udp].concat();
    assert_eq!(
        of_v6(&ipv6(0, &chain)[IP..]).map(|quote| quote.flow.layer4),
        Some(Layer4::ports(Protocol::UDP, 4000, 53))
    );
}

#[test]
fn what_shows_no_ports_or_no_packet_is_no_quote() {
    assert_eq!(of_v4(&[]), None);
    assert_eq!(of_v4(&fragment4(17, 4, &[0; 16])[IP..]), None, "a later fragment");
    assert_eq!(of_v6(&fragment6(17, 8, &[0; 16])[IP..]), None, "a later fragment");
    assert_eq!(of_v4(&udp6()[IP..]), None, "the other family");
    assert_eq!(of_v6(&udp4()[IP..]), None, "the other family");
    assert_eq!(of_v4(&with(udp4(), IP, &[0x44])[IP..]), None, "a short header");
    assert_eq!(of_v4(&ipv4(58, &[1; 8])[IP..]), None, "ICMPv6 over IPv4");
    let echo = ping4();
    assert_eq!(quoted(&echo, &ip_of(&echo).1), None, "no error");
}
