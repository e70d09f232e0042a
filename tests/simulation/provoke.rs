//! A generator for every reason to drop a frame: what a sender does to be refused by it.
//!
//! A new reason needs a row here; the test that runs them says so, and writes the page of all reasons from this table.

#[path = "provoke/claims.rs"]
mod claims;
#[path = "provoke/drafts.rs"]
mod drafts;
#[path = "provoke/fragments.rs"]
mod fragments;
#[path = "provoke/gates.rs"]
mod gates;
#[path = "provoke/malformed.rs"]
mod malformed;

use std::sync::LazyLock;

use septum::drop_reason::{DropReason, UndeliveredReason};

use self::drafts::Script;
pub(crate) use self::drafts::listener_message;
use crate::checker::Checker;
use crate::hostile::Mint;
use crate::random::Random;
use crate::rig::{Build, Rig, SMALL_TABLE};
use crate::world::{ENDING, atlas};

/// What must be so for a reason to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// This policy.
    Rules(usize),
    /// A policy whose last day is over.
    Stale,
    /// A connection table with few entries.
    SmallTable,
    /// A port that the policy does not describe.
    StrayPort,
    /// A trunk.
    Trunk,
}

/// How the frames are made that provoke a reason.
#[derive(Clone, Copy)]
enum Make {
    /// In one burst of one host.
    Burst(fn(&mut Mint<'_>) -> Vec<Vec<u8>>),
    /// In several, of several.
    Exchange(fn(&mut Mint<'_>) -> Script),
}

/// How one reason is provoked.
pub(crate) struct Provocation {
    pub(crate) reason: DropReason,
    /// For the page of reasons: what is sent.
    pub(crate) how: &'static str,
    pub(crate) needs: Needs,
    /// By a host of this name; by any where none is named.
    pub(crate) host: Option<&'static str>,
    make: Make,
    /// In how many draws it is drawn once: what is long is drawn seldom.
    pub(crate) rarity: usize,
    /// Bursts in one moment.
    repeats: usize,
}

const fn row(reason: DropReason, how: &'static str, make: fn(&mut Mint<'_>) -> Vec<Vec<u8>>) -> Provocation {
    let make = Make::Burst(make);
    Provocation { reason, how, needs: Needs::Nothing, host: None, make, rarity: 1, repeats: 1 }
}

const fn exchange(reason: DropReason, how: &'static str, make: fn(&mut Mint<'_>) -> Script) -> Provocation {
    let make = Make::Exchange(make);
    Provocation { reason, how, needs: Needs::Nothing, host: None, make, rarity: 1, repeats: 1 }
}

impl Provocation {
    const fn by(mut self, host: &'static str) -> Self {
        self.host = Some(host);
        self
    }

    const fn when(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    const fn repeated(mut self, bursts: usize) -> Self {
        self.repeats = bursts;
        self
    }

    const fn seldom(mut self, rarity: usize) -> Self {
        self.rarity = rarity;
        self
    }

    /// The host that provokes it, where one is named.
    pub(crate) fn named(&self) -> Option<usize> {
        self.host.map(|name| atlas().host_named(name))
    }

    /// Who sends what: bursts that follow one another in one moment.
    pub(crate) fn script(&self, mint: &mut Mint<'_>) -> Script {
        match self.make {
            Make::Burst(make) => vec![(mint.from, make(mint)); self.repeats],
            Make::Exchange(make) => make(mint),
        }
    }
}

/// Every reason, in the order in which they are declared.
pub(crate) static PROVOCATIONS: LazyLock<Vec<&'static Provocation>> = LazyLock::new(|| {
    let rows = [malformed::MALFORMED, claims::CLAIMS, fragments::FRAGMENTS, gates::GATES];
    rows.into_iter().flatten().collect()
});

/// How a reason is provoked.
pub(crate) fn provocation_of(reason: DropReason) -> Option<&'static Provocation> {
    PROVOCATIONS.iter().copied().find(|provocation| provocation.reason == reason)
}

/// The policy that a need asks for, if it does.
pub(crate) fn rules_for(needs: Needs) -> Option<usize> {
    match needs {
        Needs::Rules(rules) => Some(rules),
        Needs::Stale => Some(ENDING),
        _ => None,
    }
}

/// Runs one generator on a switch that has what it needs, until its reason is given.
pub(crate) fn provoke(provocation: &Provocation) -> Result<(), String> {
    let connections = if provocation.needs == Needs::SmallTable { SMALL_TABLE } else { 4096 };
    let mut rig = Rig::new(Build { connections, ..Build::plain() }, 1);
    if let Some(rules) = rules_for(provocation.needs) {
        rig.change(rules);
        rig.catch_up(0);
    }
    if provocation.needs == Needs::Stale {
        rig.be_late(true);
    }
    let mut checker = Checker::default();
    let mut random = Random::new(7);
    let from = provocation.named().unwrap_or_else(|| atlas().host_named("lab-1"));
    for _ in 0..40 {
        for (host, frames) in provocation.script(&mut Mint { random: &mut random, from, lures: &[] }) {
            let port = match provocation.needs {
                Needs::StrayPort => rig.stray,
                Needs::Trunk => rig.trunk,
                _ => rig.ports[host].expect("every host is attached"),
            };
            let frames: Vec<_> = frames.iter().map(Vec::as_slice).collect();
            let outcome = rig.burst(0, port, &frames);
            checker.judge(&rig, (0, port), &frames, &outcome)?;
            rig.balance()?;
        }
        if checker.tally.dropped[provocation.reason.index()] != 0 {
            return Ok(());
        }
    }
    let others = DropReason::ALL.into_iter().filter(|reason| checker.tally.dropped[reason.index()] != 0);
    let others: Vec<_> = others.map(DropReason::name).collect();
    Err(format!("{}: {} was dropped as {}", provocation.reason, provocation.how, others.join(", ")))
}

/// Why a frame that was handed over is not transmitted, and the test that makes it so.
pub(crate) const UNDELIVERED: &[(UndeliveredReason, &str, &str)] = &[
    (
        UndeliveredReason::QueueFull,
        "dataplane/src/port/memory.rs",
        "frames_pass_in_order_and_a_full_ring_loses_the_rest",
    ),
    (UndeliveredReason::PortDown, "tests/ports/devices.rs", "UndeliveredReason::PortDown"),
    (UndeliveredReason::PortGone, "tests/ports/devices.rs", "UndeliveredReason::PortGone"),
];
