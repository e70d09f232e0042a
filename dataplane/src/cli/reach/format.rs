//! Rows of `reach` as a table, as JSON, as comma-separated values.
//!
//! Names and places are made into their written form once, not once a row.

use std::collections::HashMap;
use std::io::{self, Write};

use septum_rules::endpoint::Party;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Service};

use super::{Answer, Output};
use crate::cli::promises::party_label;

const COLUMNS: [&str; 8] = ["from", "to", "service", "egress", "ingress", "verdict", "rule", "at"];

/// Writes rows, one at a time.
pub(super) struct Rows<'p, W> {
    out: W,
    output: Output,
    policy: &'p Policy,
    /// Parties as they are written.
    names: HashMap<Party, String>,
    /// By rule: its name and place, as they are written.
    rules: Vec<[String; 2]>,
    /// Of the first three columns of a table.
    widths: [usize; 3],
    rule_width: usize,
    written: bool,
}

impl<'p, W: Write> Rows<'p, W> {
    pub(super) fn new(
        policy: &'p Policy,
        output: Output,
        sources: &[Party],
        destinations: &[Party],
        parts: &[(Service, Vec<(Service, Layer4)>)],
        out: W,
    ) -> Self {
        let label = |party: &Party| party_label(policy, *party);
        let width = |parties: &[Party], column: &str| {
            parties.iter().map(|party| label(party).chars().count()).max().unwrap_or(0).max(column.len())
        };
        let service_width = |(service, parts): &(Service, Vec<_>)| {
            // Joined parts are at most as wide as this.
            let widest_part = if parts.len() > 1 { "icmp6/echo-request".len() } else { 0 };
            service.to_string().len().max(widest_part)
        };
        let services = parts.iter().map(service_width).max().unwrap_or(0);
        let widths =
            [width(sources, COLUMNS[0]), width(destinations, COLUMNS[1]), services.max(COLUMNS[2].len())];
        let named = sources.iter().chain(destinations);
        let names = named.map(|party| (*party, written(output, &label(party)))).collect();
        let rules = policy.rules.iter().map(|rule| {
            let place = policy.sources.place(rule.span).to_string();
            [written(output, &rule.name), written(output, &place)]
        });
        let rules: Vec<[String; 2]> = rules.collect();
        let rule_width = rules.iter().map(|[name, _]| name.chars().count()).max().unwrap_or(0);
        let rule_width = rule_width.max("default".len());
        Self { out, output, policy, names, rules, widths, rule_width, written: false }
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        match self.output {
            Output::Json => write!(self.out, "["),
            Output::Csv => write!(self.out, "{}\r\n", COLUMNS.join(",")),
            Output::Text => {
                let [from, to, service, egress, ingress, verdict, rule, at] = COLUMNS;
                self.line(from, to, service, [egress, ingress, verdict], rule, at)
            }
        }
    }

    pub(super) fn row(&mut self, from: Party, to: Party, service: Service, answer: Answer) -> io::Result<()> {
        let (from, to) = (self.names[&from].clone(), self.names[&to].clone());
        let verdicts = [answer.egress, answer.ingress, answer.admitted].map(word);
        let rule = answer.rule.map(|rule| self.rules[rule.index()].clone());
        let comma = if std::mem::replace(&mut self.written, true) { "," } else { "" };
        let [egress, ingress, verdict] = verdicts;
        match self.output {
            Output::Json => {
                let [rule, at] = rule.unwrap_or_else(|| ["null".to_owned(), "null".to_owned()]);
                write!(
                    self.out,
                    "{comma}\n{{\"from\":{from},\"to\":{to},\"service\":\"{service}\",\"egress\":\"{egress}\",\
                     \"ingress\":\"{ingress}\",\"verdict\":\"{verdict}\",\"rule\":{rule},\"at\":{at}}}"
                )
            }
            Output::Csv => {
                let [rule, at] = rule.unwrap_or_default();
                write!(self.out, "{from},{to},{service},{egress},{ingress},{verdict},{rule},{at}\r\n")
            }
            Output::Text => {
                let [rule, at] = rule.unwrap_or_else(|| [default_of(answer).to_owned(), String::new()]);
                self.line(&from, &to, &service.to_string(), verdicts, &rule, &at)
            }
        }
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.output == Output::Json {
            writeln!(self.out, "{}]", if self.written { "\n" } else { "" })?;
        }
        if self.output == Output::Text && !self.written {
            let workloads = self.policy.workloads.len();
            writeln!(self.out, "(no pair of different parties: the policy has {workloads} workloads)")?;
        }
        self.out.flush()
    }

    fn line(
        &mut self,
        from: &str,
        to: &str,
        service: &str,
        [egress, ingress, verdict]: [&str; 3],
        rule: &str,
        at: &str,
    ) -> io::Result<()> {
        let [first, second, third] = self.widths;
        let fourth = self.rule_width;
        let line = format!(
            "{from:first$}  {to:second$}  {service:third$}  {egress:6}  {ingress:7}  {verdict:7}  {rule:fourth$}  {at}"
        );
        writeln!(self.out, "{}", line.trim_end())
    }
}

fn word(admits: bool) -> &'static str {
    if admits { "allow" } else { "deny" }
}

/// What stands where no rule decides: the gates' default, or what is above the gates.
fn default_of(answer: Answer) -> &'static str {
    if !answer.admitted && answer.egress && answer.ingress { "isolated" } else { "default" }
}

/// Text as the output holds it, quotes included.
fn written(output: Output, text: &str) -> String {
    match output {
        Output::Json => serde_json::Value::from(text).to_string(),
        Output::Csv if text.contains([',', '"', '\r', '\n']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Output::Csv | Output::Text => text.to_owned(),
    }
}
