//! What cannot run: each cause its own message with the place, the reason and a fix, and nothing left behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::lab::{Lab, path_text};
use crate::namespace::needs_tun;
use crate::nobody::Programs;
use crate::reload::says_place;
use crate::running::{program, run_to_its_end};
use crate::trio::{TRIO, trio_and};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("bad_input::each_mistake_has_its_place_reason_and_fix", each_mistake_has_its_place),
        Trial::test("bad_input::a_device_that_is_in_the_way", a_device_that_is_in_the_way),
        needs_tun(Trial::test("bad_input::a_tap_with_other_flags", a_tap_with_other_flags)),
        Trial::test("bad_input::a_namespace_that_is_missing", a_namespace_that_is_missing),
        // Where there is another user to become: in a user namespace of one there is none.
        Trial::test("bad_input::without_permission", without_permission)
            .with_ignored_flag(!may_become_nobody()),
    ]
}

/// A mistake: what is replaced by what, and what must be said of it.
struct Mistake {
    from: &'static str,
    to: &'static str,
    says: &'static [&'static str],
}

const MISTAKES: [Mistake; 14] = [
    Mistake { from: "segment = \"far\"", to: "segment = \"fra\"", says: &["S0301", "`fra`", "`far`"] },
    Mistake { from: "\"echo\", \"ping\"", to: "\"ecko\", \"ping\"", says: &["S0302", "`ecko`", "`echo`"] },
    Mistake { from: "\"name=c\"", to: "\"cidr:lab\"", says: &["S0303", "`lab`"] },
    Mistake { from: "\"name=c\"", to: "\"name in (c\"", says: &["S0401"] },
    Mistake { from: "10.2.0.12", to: "10.1.0.11", says: &["10.1.0.11"] },
    Mistake { from: "fd00:2::c", to: "fd00:2::1", says: &["S0507", "fd00:2::1"] },
    Mistake { from: "02:00:0a:01:00:0b", to: "02:00:0a:01:00:0a", says: &["S0503", "02:00:0a:01:00:0a"] },
    Mistake { from: "10.2.0.12", to: "10.3.0.12", says: &["S0505", "10.3.0.12"] },
    Mistake { from: "10.2.0.0/24", to: "10.1.0.0/16", says: &["S0501"] },
    Mistake { from: "tap     =", to: "tapp    =", says: &["S0201", "`tapp`", "`tap`"] },
    Mistake { from: "[segment.far]", to: "[segment.far", says: &["S0102"] },
    Mistake { from: "tap     = \"eth0\"", to: "tap = \"a-name-that-is-too-long\"", says: &["S0406"] },
    Mistake {
        from: "segment = \"far\"",
        to: "segment = \"far\"\nopen = [\"egress\"]",
        says: &["--allow-open", "`c`"],
    },
    Mistake { from: "mac     = \"02:00:0a:02:00:0c\"", to: "", says: &["lacks a MAC", "`c`"] },
];

/// A `septum run` that ends by itself.
fn run(lab: &Lab, arguments: &[&str]) -> Result<Refusal, Failed> {
    Refusal::of(program().arg("run").arg(lab.policy()).args(arguments))
}

struct Refusal {
    status: Option<i32>,
    said: String,
}

impl Refusal {
    fn of(command: &mut Command) -> Result<Self, Failed> {
        let (status, said) = run_to_its_end(command)?;
        Ok(Self { status, said })
    }

    fn expect(&self, status: i32, says: &[&str]) -> Result<(), Failed> {
        let missing = says.iter().find(|what| !self.said.contains(**what));
        match missing {
            None if self.status == Some(status) => Ok(()),
            _ => {
                Err(format!("status {:?}, not {status}, or no {missing:?}:\n{}", self.status, self.said)
                    .into())
            }
        }
    }
}

fn each_mistake_has_its_place() -> Result<(), Failed> {
    let mut lab = Lab::new(TRIO)?;
    let unknown_workload = "[[test]]\nname = \"t\"\nfrom = \"a\"\nto = \"z\"\nallow = [\"tcp/80\"]\n";
    let broken_promise = "[[test]]\nname = \"t\"\nfrom = \"b\"\nto = \"a\"\nallow = [\"tcp/80\"]\n";
    let mut texts: Vec<(String, Vec<&str>)> = vec![
        (trio_and(unknown_workload), vec!["S0304", "`z`"]),
        (trio_and(broken_promise), vec!["`t`", "breaks 1 of its own tests", "fix:"]),
        (trio_and("[uplink.out]\ndevice = \"eth9\"\ngateway = \"10.1.0.1\"\n"), vec!["out"]),
    ];
    for Mistake { from, to, says } in MISTAKES {
        assert!(TRIO.contains(from), "{from}");
        // In the last place: `c`, where each workload has one.
        let at = TRIO.rfind(from).unwrap_or_default();
        texts.push((format!("{}{to}{}", &TRIO[..at], &TRIO[at + from.len()..]), says.to_vec()));
    }
    for (text, says) in texts {
        lab.write(&text)?;
        let refusal = run(&lab, &[])?;
        refusal.expect(2, &says)?;
        assert!(says_place(&refusal.said), "{}", refusal.said);
    }

    lab.write(&TRIO.replacen("version = 1\n", "version = 1\ndefault = \"allow\"\n", 1))?;
    run(&lab, &[])?.expect(2, &["default = \"allow\"", "fix:", "--allow-open"])?;
    lab.write(TRIO)?;
    run(&lab, &["--events", "/proc/nowhere/events"])?.expect(2, &["/proc/nowhere/events", "fix:"])?;
    let missing = lab.path("nothing.toml");
    let refusal = Refusal::of(program().arg("run").arg(&missing))?;
    refusal.expect(2, &["cannot read", "nothing.toml", "fix:"])?;
    lab.assert_empty()
}

/// The last of three ports fails: the others, which were made, are gone again, and what is not ours stays.
fn a_device_that_is_in_the_way() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let c = lab.host("c");
    c.run(|| septum::sys::netlink::Netlink::open()?.add_veth("eth0", "far-end", None))?;
    let refusal = run(&lab, &[])?;
    refusal
        .expect(3, &["the port of `c` cannot be opened", "`eth0`", "exists", "fix: choose another name"])?;
    assert!(says_place(&refusal.said), "{}", refusal.said);
    lab.assert_empty_namespace("a")?;
    lab.assert_empty_namespace("b")?;
    assert!(c.run(|| septum::sys::netlink::Netlink::open()?.link("eth0"))?.kind.is_some());
    Ok(())
}

fn a_tap_with_other_flags() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let c = lab.host("c");
    // An independent maker of devices: one queue, no virtio header.
    let theirs = c.run(|| tun_tap::Iface::without_packet_info("eth0", tun_tap::Mode::Tap))?;
    let refusal = run(&lab, &[])?;
    refusal.expect(3, &["`eth0` exists and was made without multi_queue", "fix: make it anew"])?;
    assert!(says_place(&refusal.said), "{}", refusal.said);
    lab.assert_empty_namespace("a")?;
    drop(theirs);
    lab.assert_empty()
}

fn a_namespace_that_is_missing() -> Result<(), Failed> {
    let mut lab = Lab::new(TRIO)?;
    let path = lab.path("no-namespace");
    let elsewhere = |path: &str| TRIO.replacen("netns   = \"c\"", &format!("netns = \"{path}\""), 1);
    lab.write(&elsewhere(path_text(&path)?))?;
    let refusal = run(&lab, &[])?;
    refusal.expect(3, &["there is no network namespace at", "no-namespace", "fix: give the path"])?;
    assert!(says_place(&refusal.said), "{}", refusal.said);
    lab.write(&elsewhere(path_text(&lab.policy())?))?;
    run(&lab, &[])?.expect(3, &["is not a network namespace", "fix:"])?;
    lab.assert_empty()
}

/// `nobody` on most systems.
const NOBODY: u32 = 65534;

fn may_become_nobody() -> bool {
    // user_namespaces(7): first id inside, first id outside, how many.
    let is_mapped = |line: &str| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if NOBODY >= first && NOBODY - first < count)
    };
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.lines().any(is_mapped)
}

fn without_permission() -> Result<(), Failed> {
    let programs = Programs::new()?;
    let septum = programs.copy(program().get_program().as_ref())?;
    let policy = septum.with_file_name("policy.toml");
    let beside = TRIO.replace("netns   = ", "# ");
    let names = ["tap-a", "tap-b", "tap-c"];
    let text = names
        .iter()
        .fold(beside, |text, name| text.replacen("tap     = \"eth0\"", &format!("tap = \"{name}\""), 1));
    fs::write(&policy, text)?;
    fs::set_permissions(&policy, Permissions::from_mode(0o644))?;
    let mut command = Command::new(&septum);
    command.arg("run").arg(&policy).current_dir("/").uid(NOBODY).gid(NOBODY);
    command.env_remove("HOME");
    let refusal = Refusal::of(&mut command)?;
    refusal.expect(3, &["the port of `a` cannot be opened", "fix:", "run as root"])?;
    assert!(says_place(&refusal.said), "{}", refusal.said);
    Ok(())
}
