//! The policy file that comes out: meant to be read, in an order that a diff can follow.

use std::fmt::Write as _;

use super::Import;
use super::pod::Pod;
use super::rules::{Directory, RuleOut, number_of, port_label};
use crate::address::Prefix;
use crate::import::toml_text::{List, Quoted, comment};
use crate::rule::{Rule, Tier};

/// The one segment: to Kubernetes, all pods are neighbours.
const SEGMENT: &str = "pods";

/// The text of the policy file.
pub(super) fn policy(
    pods: &[Pod],
    directory: &Directory,
    rules: &[RuleOut],
    policies: usize,
    import: &Import,
) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = header(&mut out, pods, rules, policies, &import.left_out);
    let _ = workloads(&mut out, pods, directory);
    let _ = networks(&mut out, import);
    for rule in rules {
        let _ = self::rule(&mut out, rule);
    }
    out
}

fn header(
    out: &mut String,
    pods: &[Pod],
    rules: &[RuleOut],
    policies: usize,
    left_out: &[String],
) -> std::fmt::Result {
    writeln!(
        out,
        "# Imported from Kubernetes: {} pods, {policies} policies, {} rules.",
        pods.len(),
        rules.len()
    )?;
    writeln!(out, "# A pod is the workload `namespace/pod`, its labels pod.KEY, its namespace's ns.KEY.")?;
    if !left_out.is_empty() {
        writeln!(out, "#\n# Left out (--skip-unsupported), so this is not all that the manifests say:")?;
        for what in left_out {
            writeln!(out, "#   {}", comment(what))?;
        }
    }
    writeln!(out, "version = 1\n\n[segment.{SEGMENT}]")
}

fn workloads(out: &mut String, pods: &[Pod], directory: &Directory) -> std::fmt::Result {
    for (pod, labels) in pods.iter().zip(&directory.labels) {
        let name = format!("{}/{}", pod.namespace, pod.name);
        writeln!(out, "\n[workload.{}]", Quoted(&name))?;
        writeln!(out, "segment = {}", Quoted(SEGMENT))?;
        if !pod.addresses.is_empty() {
            let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
            writeln!(out, "ip      = {}", List { items: &addresses, bare: false })?;
        }
        writeln!(out, "open    = [\"ingress\", \"egress\"]")?;
        let mut labels: Vec<(String, String)> =
            labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        for (protocol, name) in &directory.used_ports {
            if let Some(number) = number_of(pod, *protocol, name) {
                labels.push((port_label(*protocol, name).to_string(), number.to_string()));
            }
        }
        write!(out, "labels  = {{")?;
        for (at, (key, value)) in labels.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma} {} = {}", Quoted(key), Quoted(value))?;
        }
        writeln!(out, " }}")?;
    }
    Ok(())
}

fn networks(out: &mut String, import: &Import) -> std::fmt::Result {
    if import.networks.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n[cidr]")?;
    let texts = |prefixes: &[Prefix]| prefixes.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, include, except) in import.networks.iter() {
        let include = texts(include);
        let include = List { items: &include, bare: false };
        if except.is_empty() {
            writeln!(out, "{} = {include}", Quoted(name))?;
        } else {
            let except = texts(except);
            let except = List { items: &except, bare: false };
            writeln!(out, "{} = {{ in = {include}, except = {except} }}", Quoted(name))?;
        }
    }
    Ok(())
}

fn rule(out: &mut String, rule: &RuleOut) -> std::fmt::Result {
    writeln!(out, "\n[[rule]]")?;
    writeln!(out, "name     = {}", Quoted(&rule.name))?;
    if rule.tier != Tier::App {
        writeln!(out, "tier     = {}", Quoted(rule.tier.name()))?;
    }
    if let Some(priority) =
        rule.priority.filter(|priority| *priority != Rule::DEFAULT_PRIORITY || rule.tier != Tier::App)
    {
        writeln!(out, "priority = {priority}")?;
    }
    writeln!(out, "side     = {}", Quoted(&rule.gate.to_string()))?;
    for (key, list) in [("from", &rule.from), ("to", &rule.to)] {
        if !list.is_empty() {
            writeln!(out, "{key:8} = {}", List { items: list, bare: true })?;
        }
    }
    let action = rule.action.name();
    writeln!(out, "{action:8} = {}", List { items: &rule.services, bare: false })?;
    writeln!(out, "why      = {}", Quoted(&rule.why))
}
