//! Rules: who may reach whom with what, in which tier, at which gate.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::date::Date;
use crate::proto::{Layer4, Service};
use crate::selector::Selector;
use crate::source::Span;
use crate::verdict::Gate;

/// The order in which rules are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// First: guard rails that no team can open.
    Admin,
    /// Where a rule goes unless it says otherwise.
    #[default]
    App,
    /// Last: what holds when nobody said more.
    Baseline,
}

impl Tier {
    /// All tiers, in order.
    pub const ALL: [Self; 3] = [Self::Admin, Self::App, Self::Baseline];

    /// As policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::App => "app",
            Self::Baseline => "baseline",
        }
    }
}

/// What a rule does with a flow that it matches. The order is that of rules with equal priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Refuse.
    Deny,
    /// Leave this tier for the next.
    Pass,
    /// Admit.
    Allow,
}

impl Action {
    /// As policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Pass => "pass",
            Self::Allow => "allow",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a refused sender hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DenyWith {
    /// Nothing.
    #[default]
    Drop,
    /// RST or ICMP administratively prohibited, rate limited.
    Reject,
}

/// Which decisions of a rule go to the flow log. Never changes what is admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogMode {
    /// None.
    None,
    /// Each packet that was judged: what opens a connection, and every refusal.
    #[default]
    New,
    /// Every packet.
    All,
    /// One judged packet in this many.
    Sample(u32),
}

/// One rule of a policy, resolved.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, unique among rules.
    pub name: Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// Lower comes first.
    pub priority: u32,
    /// What it does.
    pub action: Action,
    /// The one gate at which it stands; `None` is both.
    pub side: Option<Gate>,
    /// What the source must be.
    pub from: Selector,
    /// What the destination must be.
    pub to: Selector,
    /// It matches a flow that lies in one of these.
    pub services: Vec<Service>,
    /// It does not match a flow that one of these matches.
    pub except: Vec<Except>,
    /// Its last valid day (UTC); after it, it matches nothing.
    pub expires: Option<Date>,
    /// It decides nothing; what it would have decided is recorded.
    pub audit: bool,
    /// Flow log.
    pub log: LogMode,
    /// What refused senders hear; `None` is the policy's.
    pub deny_with: Option<DenyWith>,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// Why it is there.
    pub why: Option<Arc<str>>,
    /// Where it was asked for.
    pub ticket: Option<Arc<str>>,
    /// Where it is written.
    pub span: Span,
}

/// A hole in a rule. What it leaves out (`from`, `to`, services) is everything.
#[derive(Clone, Debug)]
pub struct Except {
    /// What the source must be for the hole.
    pub from: Selector,
    /// What the destination must be for the hole.
    pub to: Selector,
    /// The services of the hole.
    pub services: Vec<Service>,
    /// Where it is written.
    pub span: Span,
}

impl Rule {
    /// The priority of a rule that names none.
    pub const DEFAULT_PRIORITY: u32 = 1000;

    /// Whether it stands at `gate`.
    pub fn stands_at(&self, gate: Gate) -> bool {
        self.side.is_none_or(|side| side == gate)
    }

    /// Whether it is past its last valid day.
    pub fn is_expired(&self, now: Date) -> bool {
        self.expires.is_some_and(|last_valid| now > last_valid)
    }

    /// Whether one of its services holds `layer4`.
    pub fn serves(&self, layer4: Layer4) -> bool {
        self.services.iter().any(|service| service.matches(layer4))
    }

    /// The order of evaluation: tier, priority, action; then the name, so that which of two equal rules is
    /// named as the deciding one does not hang on file order either.
    pub fn evaluation_order(&self, other: &Self) -> Ordering {
        (self.tier, self.priority, self.action)
            .cmp(&(other.tier, other.priority, other.action))
            .then_with(|| self.name.cmp(&other.name))
    }
}
