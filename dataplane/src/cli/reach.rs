//! `septum reach POLICY`: who reaches whom, as the compiled policy says.
//!
//! A row for each ordered pair of different parties and each service. A service that the policy does not treat as one
//! for a pair is cut into the parts that it does, a row each. Rows are made and written one at a time: a hundred
//! million of them cost no memory.

mod format;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use septum_classifier::{Classifier, VerdictEntry};
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::RuleId;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Service};
use septum_rules::question;

use self::format::Rows;
use super::failure::Failure;
use super::policy_file;
use crate::clock::today;

/// `septum reach`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy
    #[arg(value_name = "POLICY")]
    file: PathBuf,
    /// Sources: a workload, a label expression, or an address; all workloads unless given
    #[arg(long, value_name = "WHO")]
    from: Vec<String>,
    /// Destinations, likewise
    #[arg(long, value_name = "WHO")]
    to: Vec<String>,
    /// Services, as in `tcp/80`, or the name of one; those that rules name unless given
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    service: Vec<String>,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A table
    Text,
    /// One array of objects, a line each
    Json,
    /// Comma-separated values with a header (RFC 4180)
    Csv,
}

/// Answers.
///
/// # Errors
/// When the policy is none, or nobody is of a name that was given.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let compiled = policy_file::compile(&arguments.file)?;
    let (policy, classifier) = (&*compiled.policy, &*compiled.classifier);
    let sources = parties(policy, "--from", &arguments.from)?;
    let destinations = parties(policy, "--to", &arguments.to)?;
    let services = services(policy, &arguments.service)?;
    let parts: Vec<(Service, Vec<(Service, Layer4)>)> =
        services.into_iter().map(|service| (service, classifier.parts(service))).collect();
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let rows = Rows::new(policy, arguments.output, &sources, &destinations, &parts, out);
    match write_rows(classifier, &sources, &destinations, &parts, rows) {
        // A reader that has seen enough closes the pipe: no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::because(Failure::ENVIRONMENT, "the answer cannot be written", &error))
        }
        _ => Ok(0),
    }
}

/// One row, but for how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) egress: bool,
    pub(super) ingress: bool,
    pub(super) admitted: bool,
    pub(super) rule: Option<RuleId>,
}

impl Answer {
    fn of(entry: &VerdictEntry) -> Self {
        Self {
            egress: entry.egress.admits,
            ingress: entry.ingress.admits,
            admitted: entry.verdict.is_allow(),
            rule: entry.rule,
        }
    }
}

fn write_rows(
    classifier: &Classifier,
    sources: &[Party],
    destinations: &[Party],
    parts: &[(Service, Vec<(Service, Layer4)>)],
    mut rows: Rows<'_, impl Write>,
) -> io::Result<()> {
    let layer4 = || parts.iter().flat_map(|(_, parts)| parts.iter().map(|(_, layer4)| *layer4));
    let mut answers = classifier.reach(sources.iter().copied(), destinations.iter().copied(), layer4());
    rows.begin()?;
    // One pair after another, and of each pair one part after another.
    while let Some(first) = answers.next() {
        let (from, to) = (first.source, first.destination);
        let mut pair = std::iter::once(first).chain(&mut answers);
        for (service, parts) in parts {
            let mut runs: Vec<(Service, Answer)> = Vec::new();
            for (part, _) in parts {
                let Some(row) = pair.next() else { break };
                let answer = Answer::of(&row.entry);
                match runs.last_mut().filter(|(_, last)| *last == answer) {
                    Some((last, _)) if let Some(both) = joined(*last, *part) => *last = both,
                    _ => runs.push((*part, answer)),
                }
            }
            let uniform = runs.first().filter(|(_, first)| runs.iter().all(|(_, other)| other == first));
            match uniform {
                Some((_, answer)) => rows.row(from, to, *service, *answer)?,
                None => runs.iter().try_for_each(|(part, answer)| rows.row(from, to, *part, *answer))?,
            }
        }
    }
    rows.end()
}

/// Two parts as one, where the second begins behind the first.
fn joined(first: Service, second: Service) -> Option<Service> {
    let adjacent = first.destination.last().checked_add(1) == Some(second.destination.first());
    let alike = first.protocol == second.protocol && first.source == second.source;
    let destination = PortRange::new(first.destination.first(), second.destination.last()).ok()?;
    (adjacent && alike).then_some(Service { destination, ..first })
}

/// All that are named, each once; all workloads where nobody is.
fn parties(policy: &Policy, option: &str, texts: &[String]) -> Result<Vec<Party>, Failure> {
    if texts.is_empty() {
        return Ok(Classifier::workload_parties(policy).collect());
    }
    let oracle = Oracle::new(policy, today());
    let mut parties: Vec<Party> = Vec::new();
    for text in texts {
        for party in question::parties(&oracle, option, text)? {
            let party = match (party.endpoint, party.address) {
                (Endpoint::Workload(id), None) => {
                    Party { address: policy.workloads[id.index()].addresses.first().copied(), ..party }
                }
                _ => party,
            };
            if !parties.contains(&party) {
                parties.push(party);
            }
        }
    }
    Ok(parties)
}

/// All that are named, each once; those of the rules where none is, or `any` where there is no rule either.
fn services(policy: &Policy, texts: &[String]) -> Result<Vec<Service>, Failure> {
    let mut services = Vec::new();
    for text in texts {
        services.extend(question::services(policy, "--service", text)?);
    }
    if texts.is_empty() {
        services.extend(policy.rules.iter().flat_map(|rule| rule.services.iter().copied()));
        services.sort_unstable();
        // Beside the others, `any` would only ask the same again.
        let all_are_any = services.iter().all(|service| *service == Service::ANY);
        services.retain(|service| all_are_any || *service != Service::ANY);
    }
    let mut seen = std::collections::HashSet::new();
    services.retain(|service| seen.insert(*service));
    if services.is_empty() {
        services.push(Service::ANY);
    }
    Ok(services)
}
