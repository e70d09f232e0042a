//! `septum diff OLD NEW`: what a change of policy changes, for every packet.
//!
//! A line of heading for each way in which packets are decided differently, under it the regions: who, to whom, with
//! what; what becomes of it before and after, by which rules; and a packet that shows it. Workloads that only one of
//! the policies has are told by name; what is decided differently because of them is counted, and shown where asked for.

mod json;
mod text;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use septum_classifier::Budget;
use septum_classifier::diff::{ChangedRegion, Comparison, Difference, Fate, Judgement, Names};
use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::verdict::Decision;

use super::failure::Failure;
use super::policy_file;
use super::present::Paint;
use crate::snapshot::CompiledPolicy;

/// `septum diff`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy before
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policy after
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Exit 1 if anything differs
    #[arg(long)]
    exit_code: bool,
    /// Also report what is decided alike, but by other rules (told apart by name)
    #[arg(long)]
    rules: bool,
    /// Also show what is decided differently only because a workload comes, goes or moves
    #[arg(long)]
    workloads: bool,
    /// How much work it may be, in lookups
    #[arg(long, value_name = "STEPS", default_value_t = Budget::default().0)]
    budget: u64,
}

/// How to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs: one document
    Json,
}

/// Compares.
///
/// # Errors
/// When one of the policies is none, or both are too large to compare within the budget.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let before = policy_file::compile(&arguments.old)?;
    let after = policy_file::compile(&arguments.new)?;
    let comparison = Comparison::new(&before.classifier, &before.policy, &after.classifier, &after.policy)
        .deciders(arguments.rules)
        .budget(Budget(arguments.budget));
    let difference = comparison.run().map_err(|error| {
        let files = (arguments.old.display(), arguments.new.display());
        let reason = format_args!("`{}` and `{}` cannot be compared", files.0, files.1);
        Failure::because(Failure::INPUT, reason, &error)
            .fix("give more with --budget; what was compared so far is not reported, it would not be all")
    })?;
    let told = Told {
        files: [&arguments.old, &arguments.new].map(|path| path.display().to_string()),
        names: Names::new(&before.policy, &after.policy, &difference),
        workloads: WorkloadChanges::between(&before.policy, &after.policy),
        before: &before,
        after: &after,
        difference: &difference,
    };
    let mut out = io::stdout().lock();
    // A reader that has seen enough closes the pipe: no failure.
    let _ = match arguments.output {
        Output::Text => {
            let paint = Paint::for_stream(&out);
            out.write_all(told.text(paint, arguments.workloads).as_bytes())
        }
        Output::Json => serde_json::to_writer_pretty(&mut out, &told.json())
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
    };
    let differs = !difference.is_empty() || !told.workloads.is_empty();
    Ok(if arguments.exit_code && differs { Failure::BROKEN } else { 0 })
}

/// A difference and all that it takes to tell it.
struct Told<'a> {
    files: [String; 2],
    names: Names<'a>,
    workloads: WorkloadChanges,
    before: &'a CompiledPolicy,
    after: &'a CompiledPolicy,
    difference: &'a Difference,
}

/// Workloads by name, of which something other than labels changes.
#[derive(Debug, Default)]
struct WorkloadChanges {
    added: Vec<Arc<str>>,
    removed: Vec<Arc<str>>,
    /// Name, addresses before and after.
    moved: Vec<(Arc<str>, Vec<IpAddr>, Vec<IpAddr>)>,
}

impl WorkloadChanges {
    fn between(before: &Policy, after: &Policy) -> Self {
        let by_name = |policy: &Policy| -> std::collections::BTreeMap<Arc<str>, Vec<IpAddr>> {
            let addresses = |workload: &septum_rules::workload::Workload| {
                let mut addresses: Vec<IpAddr> = workload.all_addresses().collect();
                addresses.sort_unstable();
                addresses
            };
            let named = policy.workloads.iter().map(|it| (Arc::clone(&it.name), addresses(it)));
            named.collect()
        };
        let (before, after) = (by_name(before), by_name(after));
        let mut changes = Self::default();
        for (name, was) in &before {
            match after.get(name) {
                None => changes.removed.push(Arc::clone(name)),
                Some(is) if is != was => changes.moved.push((Arc::clone(name), was.clone(), is.clone())),
                Some(_) => {}
            }
        }
        changes.added.extend(after.keys().filter(|name| !before.contains_key(*name)).cloned());
        changes
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.moved.is_empty()
    }
}

/// One of the two policies, as a region speaks of it.
#[derive(Clone, Copy)]
struct Version<'a> {
    policy: &'a Policy,
    judgement: Judgement,
    /// The rule that decides the region's packet.
    rule: Option<RuleId>,
}

impl<'a> Told<'a> {
    /// What a region says of either policy.
    fn versions(&self, region: &ChangedRegion) -> [Version<'a>; 2] {
        let witness = &region.witness;
        let version = |side: usize, compiled: &'a CompiledPolicy, judgement| {
            let decision: Decision =
                compiled.classifier.decide(witness.source[side], witness.destination[side], witness.layer4);
            Version { policy: &compiled.policy, judgement, rule: decision.rule() }
        };
        [version(0, self.before, region.before), version(1, self.after, region.after)]
    }

    /// The regions of workloads that both have where they were, or the others.
    fn regions(&self, staying: bool) -> impl Iterator<Item = &'a ChangedRegion> {
        self.difference.regions.iter().filter(move |region| (region.fate() == Fate::Stays) == staying)
    }
}

fn word(admits: bool) -> &'static str {
    if admits { "allow" } else { "deny" }
}
