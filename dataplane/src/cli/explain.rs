//! `septum explain POLICY FROM TO SERVICE`: what becomes of one flow, at which gate, by which rule, and why.
//!
//! For a refusal it names the rule that came nearest to admitting the flow, and what that missed.

mod format;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use septum_classifier::Classifier;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::question;

use self::format::Explained;
use super::failure::Failure;
use super::policy_file;
use super::promises::party_label;

/// `septum explain`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy
    #[arg(value_name = "POLICY")]
    file: PathBuf,
    /// The source: a workload or an address
    #[arg(value_name = "FROM")]
    from: String,
    /// The destination: a workload or an address
    #[arg(value_name = "TO")]
    to: String,
    /// The service, as in `tcp/443`
    #[arg(value_name = "SERVICE")]
    service: String,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs: one document
    Json,
}

/// Explains.
///
/// # Errors
/// When the policy is none, or the arguments do not name one flow.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let compiled = policy_file::compile(&arguments.file)?;
    let (policy, classifier) = (&*compiled.policy, &*compiled.classifier);
    let oracle = Oracle::new(policy, classifier.now());
    let from = one_party(&oracle, "FROM", &arguments.from)?;
    let to = one_party(&oracle, "TO", &arguments.to)?;
    if from.endpoint == to.endpoint && !matches!(from.endpoint, Endpoint::World) {
        let reason = format_args!("`{}` and `{}` are the same", arguments.from, arguments.to);
        return Err(Failure::new(Failure::INPUT, reason).fix("name two different parties"));
    }
    let services = question::services(policy, "SERVICE", &arguments.service)?;
    let [service] = *services else {
        let names: Vec<String> = services.iter().map(Service::to_string).collect();
        let reason = format_args!("`{}` stands for several services", arguments.service);
        return Err(
            Failure::new(Failure::INPUT, reason).fix(format_args!("ask for one: {}", names.join(", ")))
        );
    };
    let (from, to) = with_addresses(policy, from, to, service.protocol)?;
    let layer4 = one_packet(classifier, from, to, service)?;
    let explained =
        Explained::new(policy, classifier.explain(policy, from, to, layer4), from, to, service, layer4);
    let answer = match arguments.output {
        Output::Text => explained.text(),
        Output::Json => format!("{}\n", explained.json()),
    };
    // A reader that has seen enough closes the pipe: no failure.
    let _ = io::stdout().write_all(answer.as_bytes());
    Ok(0)
}

fn one_party(oracle: &Oracle<'_>, argument: &str, text: &str) -> Result<Party, Failure> {
    let parties = question::parties(oracle, argument, text)?;
    match *parties {
        [party] => Ok(party),
        _ => {
            let names: Vec<String> =
                parties.iter().take(5).map(|party| party_label(oracle.policy(), *party)).collect();
            let reason = format_args!("`{text}` names {} workloads", parties.len());
            Err(Failure::new(Failure::INPUT, reason)
                .fix(format_args!("name one, as in {}", names.join(", "))))
        }
    }
}

/// Gives workloads the first of their addresses with which the packet can exist.
fn with_addresses(
    policy: &Policy,
    from: Party,
    to: Party,
    protocol: Option<Protocol>,
) -> Result<(Party, Party), Failure> {
    let (sources, destinations) = (addresses(policy, from), addresses(policy, to));
    let pairs = sources.iter().flat_map(|from| destinations.iter().map(move |to| (*from, *to)));
    let fits = |address: Option<IpAddr>| {
        address.is_none_or(|address| match protocol {
            Some(Protocol::ICMP) => address.is_ipv4(),
            Some(Protocol::ICMPV6) => address.is_ipv6(),
            _ => true,
        })
    };
    let one_family = |(from, to): &(Option<IpAddr>, Option<IpAddr>)| match (from, to) {
        (Some(from), Some(to)) => from.is_ipv4() == to.is_ipv4(),
        _ => true,
    };
    let pair = pairs.into_iter().find(|pair| one_family(pair) && fits(pair.0) && fits(pair.1));
    let (source, destination) = pair.ok_or_else(|| {
        let (from, to) = (party_label(policy, from), party_label(policy, to));
        let reason =
            format_args!("no such packet goes from `{from}` to `{to}`: they have no addresses of its family");
        Failure::new(Failure::INPUT, reason)
            .fix("ask about addresses of one family, and ICMP or ICMPv6 as it has it")
    })?;
    Ok((Party { address: source, ..from }, Party { address: destination, ..to }))
}

fn addresses(policy: &Policy, party: Party) -> Vec<Option<IpAddr>> {
    match (party.endpoint, party.address) {
        (Endpoint::Workload(id), None) => {
            let declared = &policy.workloads[id.index()].addresses;
            if declared.is_empty() { vec![None] } else { declared.iter().copied().map(Some).collect() }
        }
        (_, address) => vec![address],
    }
}

/// A packet that stands for the whole service; where none does, the parts are named.
fn one_packet(classifier: &Classifier, from: Party, to: Party, service: Service) -> Result<Layer4, Failure> {
    let parts = classifier.parts(service);
    let verdict =
        |layer4| classifier.lookup(classifier.identify_party(from), classifier.identify_party(to), layer4);
    let first = parts[0].1;
    if parts.iter().all(|(_, layer4)| verdict(*layer4) == verdict(first)) {
        return Ok(first);
    }
    let names: Vec<String> = parts.iter().take(8).map(|(part, _)| part.to_string()).collect();
    let reason = format_args!("`{service}` is not decided as one for these two");
    Err(Failure::new(Failure::INPUT, reason)
        .fix(format_args!("ask about a part of it, as in {}", names.join(", "))))
}
