//! What a refused sender's own stack makes of `deny_with = "reject"`: its connection fails at once, with an error.

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::host::{Outcome, PATIENCE, SILENCE, tcp_echo};
use crate::lab::Lab;
use crate::trio::{TRIO, trio_and, trio_without};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("refusals::a_stack_hears_of_a_rejection_at_once", a_stack_hears_of_a_rejection_at_once),
        Trial::test(
            "refusals::a_live_connection_is_reset_by_a_change",
            a_live_connection_is_reset_by_a_change,
        ),
    ]
}

const SILENT: &str = "[[rule]]\nname = \"silent\"\nfrom = \"name=a\"\nto = \"any\"\ndeny = [\"tcp/23\", \"udp/23\"]\n\
                      deny_with = \"drop\"\n";

fn aloud(policy: &str) -> String {
    policy.replacen("version = 1", "version = 1\ndeny_with = \"reject\"", 1)
}

fn a_stack_hears_of_a_rejection_at_once() -> Result<(), Failed> {
    let lab = Lab::new(&aloud(&trio_and(SILENT)))?;
    let running = lab.start()?;
    let a = lab.host("a");
    // Inside the segment, and through the gateway.
    for peer in [lab.host("b"), lab.host("c")] {
        for ipv4 in [true, false] {
            let address = peer.address(ipv4);
            assert_eq!(a.tcp(address, 22, PATIENCE)?, Outcome::Refused, "{address}");
            assert_eq!(a.udp(address, 22, PATIENCE)?, Outcome::Refused, "{address}");
            assert_eq!(a.tcp(address, 23, SILENCE)?, Outcome::Silence, "{address}");
            assert_eq!(a.udp(address, 23, SILENCE)?, Outcome::Silence, "{address}");
        }
    }
    let summary = running.end(Signal::TERM)?;
    assert!(summary.dropped("denied-egress") >= 16, "{summary:#?}");
    lab.assert_empty()
}

fn a_live_connection_is_reset_by_a_change() -> Result<(), Failed> {
    let mut lab = Lab::new(&aloud(TRIO))?;
    let mut running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let _server = b.serve(&[80], &[])?;
    for ipv4 in [true, false] {
        lab.write(&aloud(TRIO))?;
        running.reload_gladly()?;
        let mut stream = a.connect(b.address(ipv4), 80, PATIENCE)?;
        assert_eq!(tcp_echo(&mut stream, 5000)?, Outcome::Echoed);
        lab.write(&aloud(&trio_without("a-to-b")))?;
        running.reload_gladly()?;
        assert_eq!(tcp_echo(&mut stream, 10)?, Outcome::Refused, "IPv4: {ipv4}");
    }
    running.end(Signal::TERM)?;
    lab.assert_empty()
}
