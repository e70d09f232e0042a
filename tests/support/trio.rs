//! The small policy that most of these tests edit: `a` and `b` in one segment, `c` in another; only `a` opens anything.

use libtest_mimic::Failed;

use crate::host::{Outcome, PATIENCE};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};

/// The policy. Namespaces are called like their workloads.
pub(crate) const TRIO: &str = r#"version = 1

[segment.near]
subnet  = ["10.1.0.0/24", "fd00:1::/64"]
gateway = ["10.1.0.1", "fd00:1::1"]

[segment.far]
subnet  = ["10.2.0.0/24", "fd00:2::/64"]
gateway = ["10.2.0.1", "fd00:2::1"]

[workload.a]
tap     = "eth0"
netns   = "a"
segment = "near"
mac     = "02:00:0a:01:00:0a"
ip      = ["10.1.0.10", "fd00:1::a"]

[workload.b]
tap     = "eth0"
netns   = "b"
segment = "near"
mac     = "02:00:0a:01:00:0b"
ip      = ["10.1.0.11", "fd00:1::b"]

[workload.c]
tap     = "eth0"
netns   = "c"
segment = "far"
mac     = "02:00:0a:02:00:0c"
ip      = ["10.2.0.12", "fd00:2::c"]

[service]
echo = ["tcp/80", "udp/53"]
ping = ["icmp/echo-request", "icmp6/echo-request"]

[[rule]]
name  = "a-to-b"
from  = "name=a"
to    = "name=b"
allow = ["echo", "ping"]
log   = "new"

[[rule]]
name  = "a-to-c"
from  = "name=a"
to    = "name=c"
allow = ["echo", "ping"]
log   = "new"
"#;

/// The policy with a table more.
pub(crate) fn trio_and(more: &str) -> String {
    format!("{TRIO}\n{more}")
}

/// The policy without one of its rules.
pub(crate) fn trio_without(rule: &str) -> String {
    let begin = TRIO.find(&format!("[[rule]]\nname  = \"{rule}\"")).expect("the rule is there");
    let end = TRIO[begin + 1..].find("[[rule]]").map_or(TRIO.len(), |length| begin + 1 + length);
    format!("{}{}", &TRIO[..begin], &TRIO[end..])
}

/// Whether `a` reaches `c` by TCP and `b` by ping, as the rules say, over both families.
pub(crate) fn assert_served(lab: &Lab) -> Result<(), Failed> {
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let _server = c.serve(&[80], &[])?;
    for ipv4 in [true, false] {
        assert_eq!(a.tcp(c.address(ipv4), 80, PATIENCE)?, Outcome::Echoed);
        assert_eq!(a.ping(Ping::new(b.address(ipv4)))?, Heard::Reply);
    }
    Ok(())
}
