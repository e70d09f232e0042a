//! SIGHUP: the policy is read again, and all of it comes into force or nothing changes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::host::{Host, Outcome, PATIENCE, SILENCE, tcp_echo};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};
use crate::trio::{TRIO, trio_and, trio_without};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("reload::recheck_cuts_what_lost_its_rule", recheck_cuts_what_lost_its_rule),
        Trial::test("reload::keep_lets_live_connections_finish", keep_lets_live_connections_finish),
        Trial::test("reload::a_broken_edit_changes_nothing", a_broken_edit_changes_nothing),
        Trial::test("reload::workloads_come_and_go", workloads_come_and_go),
    ]
}

/// A live connection, both ends in hand.
struct Connection {
    opener: TcpStream,
    answerer: TcpStream,
}

impl Connection {
    fn open(from: &Host, to: &Host, ipv4: bool) -> Result<Self, Failed> {
        let address = to.address(ipv4);
        let listener = to.run(|| TcpListener::bind((address, 80)))?;
        let opener = from.connect(address, 80, PATIENCE)?;
        let (answerer, _) = listener.accept()?;
        answerer.set_nodelay(true)?;
        let mut connection = Self { opener, answerer };
        assert!(connection.carries(true)? && connection.carries(false)?);
        Ok(connection)
    }

    /// Bytes of the opener, or of the answerer, still arrive.
    fn carries(&mut self, from_opener: bool) -> Result<bool, Failed> {
        self.says(from_opener, PATIENCE)
    }

    /// They do not arrive any more.
    fn is_cut(&mut self, from_opener: bool) -> Result<bool, Failed> {
        Ok(!self.says(from_opener, 2 * SILENCE)?)
    }

    fn says(&mut self, from_opener: bool, patience: Duration) -> Result<bool, Failed> {
        let (sender, receiver) = match from_opener {
            true => (&mut self.opener, &mut self.answerer),
            false => (&mut self.answerer, &mut self.opener),
        };
        receiver.set_read_timeout(Some(patience))?;
        sender.write_all(b"still there?")?;
        Ok(receiver.read_exact(&mut [0; 12]).is_ok())
    }
}

fn recheck_cuts_what_lost_its_rule() -> Result<(), Failed> {
    let mut lab = Lab::new(TRIO)?;
    let mut running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let mut kept = Connection::open(&a, &b, true)?;
    let mut cut_by_opener = Connection::open(&a, &c, true)?;
    let mut cut_by_answerer = Connection::open(&a, &c, false)?;

    // Nothing changed: nothing is cut.
    running.reload_gladly()?;
    assert!(cut_by_opener.carries(true)? && cut_by_answerer.carries(false)?);

    lab.write(&trio_without("a-to-c"))?;
    let said = running.reload_gladly()?;
    assert!(said.contains("live connections are judged again"), "{said}");
    assert!(cut_by_opener.is_cut(true)?, "the opener's packet passed");
    assert!(cut_by_answerer.is_cut(false)?, "the answerer's packet passed");
    assert!(cut_by_opener.is_cut(false)? && cut_by_answerer.is_cut(true)?, "a cut connection came back");
    assert!(kept.carries(true)? && kept.carries(false)?, "a connection that has its rule was cut");
    // The refusals say which packet met them. Which side's was the first is the kernels' business: they hold acknowledgments back.
    for (own, other) in [("10.1.0.10", "10.2.0.12"), ("fd00:1::a", "fd00:2::c")] {
        lab.await_event_that(&format!("denied between {own} and {other}"), |event| {
            event["reason"] == "denied-egress" && (event["source"] == own || event["source"] == other)
        })?;
    }

    let _servers = [b.serve(&[80], &[53])?, c.serve(&[80], &[53])?];
    for ipv4 in [true, false] {
        assert_eq!(a.tcp(c.address(ipv4), 80, SILENCE)?, Outcome::Silence);
        assert_eq!(a.udp(c.address(ipv4), 53, SILENCE)?, Outcome::Silence);
        assert_eq!(a.udp(b.address(ipv4), 53, PATIENCE)?, Outcome::Echoed);
    }
    // And back again.
    lab.write(TRIO)?;
    running.reload_gladly()?;
    assert_eq!(a.tcp(c.address(true), 80, PATIENCE)?, Outcome::Echoed);
    running.end(Signal::TERM)?;
    lab.assert_empty()
}

fn keep_lets_live_connections_finish() -> Result<(), Failed> {
    let keep = |policy: String| policy.replacen("version = 1\n", "version = 1\nestablished = \"keep\"\n", 1);
    let mut lab = Lab::new(&keep(TRIO.to_owned()))?;
    let mut running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    let mut live = Connection::open(&a, &c, true)?;
    lab.write(&keep(trio_without("a-to-c")))?;
    let said = running.reload_gladly()?;
    assert!(said.contains("live connections are kept"), "{said}");
    assert!(live.carries(true)? && live.carries(false)?);
    let _server = c.serve(&[8080], &[53])?;
    assert_eq!(a.tcp(c.address(true), 80, SILENCE)?, Outcome::Silence, "a new connection passed");
    assert_eq!(a.udp(c.address(true), 53, SILENCE)?, Outcome::Silence, "a new flow passed");
    assert!(live.carries(true)? && live.carries(false)?);
    running.end(Signal::TERM)?;
    lab.assert_empty()
}

fn a_broken_edit_changes_nothing() -> Result<(), Failed> {
    let mut lab = Lab::new(TRIO)?;
    let mut running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    let _server = c.serve(&[80], &[])?;
    let mut live = a.connect(c.address(true), 80, PATIENCE)?;

    let test = "[[test]]\nname = \"c opens\"\nfrom = \"c\"\nto = \"a\"\nallow = [\"tcp/80\"]\n";
    let edits = [
        // Each would take the rule away that the connection needs.
        (format!("{}\n[[rule\n", trio_without("a-to-c")), "[[rule"),
        (trio_without("a-to-c").replace("segment = \"far\"", "segment = \"fra\""), "\"fra\""),
        (trio_without("a-to-c").replace("\"echo\", \"ping\"", "\"ecko\", \"ping\""), "ecko"),
        (format!("{}\n{test}", trio_without("a-to-c")), "c opens"),
        (trio_without("a-to-c").replace("02:00:0a:02:00:0c", "02:00:0a:02:00:0d"), "set up anew"),
        (trio_without("a-to-c").replace("[workload.c]", "[workload.d]"), "is still that of `c`"),
        (
            trio_without("a-to-c").replace("version = 1\n", "version = 1\ndefault = \"allow\"\n"),
            "--allow-open",
        ),
    ];
    for (edit, wrong) in edits {
        lab.write(&edit)?;
        let said = running.reload()?;
        assert!(said.contains("the policy that is in force stays"), "{said}");
        assert!(said.contains(wrong), "{wrong}: {said}");
        assert!(wrong == "--allow-open" || says_place(&said), "{said}");
        assert_eq!(tcp_echo(&mut live, 1000)?, Outcome::Echoed, "{wrong}");
        assert_eq!(a.tcp(c.address(false), 80, PATIENCE)?, Outcome::Echoed, "{wrong}");
    }
    std::fs::remove_file(lab.policy())?;
    assert!(running.reload()?.contains("cannot read"));
    assert_eq!(tcp_echo(&mut live, 1000)?, Outcome::Echoed);
    running.end(Signal::TERM)?;
    lab.assert_empty()
}

/// `policy.toml:LINE:COLUMN`
pub(crate) fn says_place(said: &str) -> bool {
    said.split("policy.toml:").skip(1).any(|rest| {
        let mut numbers = rest.split(|letter: char| !letter.is_ascii_digit());
        let is_number = |number: Option<&str>| number.is_some_and(|number| number.parse::<u32>().is_ok());
        is_number(numbers.next()) && is_number(numbers.next())
    })
}

fn workloads_come_and_go() -> Result<(), Failed> {
    let mut lab = Lab::new(TRIO)?;
    let mut running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let _server = b.serve(&[80], &[])?;
    let mut live = a.connect(b.address(true), 80, PATIENCE)?;
    let four = trio_and(
        r#"
[workload.d]
tap     = "eth0"
netns   = "d"
segment = "far"
mac     = "02:00:0a:02:00:0d"
ip      = ["10.2.0.13", "fd00:2::d"]

[[rule]]
name  = "a-to-d"
from  = "name=a"
to    = "name=d"
allow = ["ping"]
"#,
    );
    for _ in 0..2 {
        lab.write_with_hosts(&four)?;
        let said = running.reload_gladly()?;
        assert!(said.contains("1 ports attached, 0 detached"), "{said}");
        let d = lab.host("d");
        for ipv4 in [true, false] {
            let heard = a.ping(Ping::new(d.address(ipv4)))?;
            assert_eq!(heard, Heard::Reply, "{:#?}\n{:#?}", running.counters(), lab.events());
        }
        assert!(running.counters()?.ports.contains_key("d"));
        let addresses = [true, false].map(|ipv4| d.address(ipv4));
        drop(d);

        lab.write(TRIO)?;
        let said = running.reload_gladly()?;
        assert!(said.contains("0 ports attached, 1 detached"), "{said}");
        lab.assert_empty_namespace("d")?;
        for address in addresses {
            assert_ne!(a.ping(Ping { patience: SILENCE, ..Ping::new(address) })?, Heard::Reply);
        }
        assert!(!running.counters()?.ports.contains_key("d"));
        assert_eq!(tcp_echo(&mut live, 1000)?, Outcome::Echoed);
    }
    running.end(Signal::TERM)?;
    lab.assert_empty()
}
