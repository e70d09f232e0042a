//! File-wide settings, `[switch]` and `[conntrack]`. Several files share one set; each setting may be made once.

use super::decode::{Spanned, Table, integer, unknown_word, word};
use super::shortened;
use crate::conntrack::{ConntrackSettings, TcpTracking, Timeout};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::policy::{Established, Fragments, ProofMode};
use crate::rule::DenyWith;
use crate::syntax::{Node, Value};

/// What the files set; `None` is the default.
#[derive(Debug, Default)]
pub(crate) struct SettingsText {
    pub(crate) default_allow: Option<Spanned<bool>>,
    pub(crate) audit: Option<Spanned<bool>>,
    pub(crate) established: Option<Spanned<Established>>,
    pub(crate) deny_with: Option<Spanned<DenyWith>>,
    pub(crate) proof: Option<Spanned<ProofMode>>,
    pub(crate) workers: Option<Spanned<Option<u16>>>,
    pub(crate) fragments: Option<Spanned<Fragments>>,
    pub(crate) conntrack: ConntrackText,
}

/// What `[conntrack]` sets.
#[derive(Debug, Default)]
pub(crate) struct ConntrackText {
    tcp: Option<Spanned<TcpTracking>>,
    pick_up: Option<Spanned<u64>>,
    connections_per_workload: Option<Spanned<u64>>,
    half_open_per_workload: Option<Spanned<u64>>,
    fragments_per_workload: Option<Spanned<u64>>,
    timeouts: [Option<Spanned<u64>>; Timeout::ALL.len()],
}

impl SettingsText {
    /// Takes the settings of a file's root table.
    pub(crate) fn add(&mut self, table: &mut Table<'_>, sink: &mut Sink) {
        let default =
            table.get("default", sink, |node, sink| word(node, &[("deny", false), ("allow", true)], sink));
        merge(&mut self.default_allow, default, "default", sink);
        merge(&mut self.audit, table.get("mode", sink, mode), "mode", sink);
        let established = [("recheck", Established::Recheck), ("keep", Established::Keep)];
        let established = table.get("established", sink, |node, sink| word(node, &established, sink));
        merge(&mut self.established, established, "established", sink);
        merge(&mut self.deny_with, table.get("deny_with", sink, deny_with), "deny_with", sink);
        let proof = [("required", ProofMode::Required), ("budget", ProofMode::Budget)];
        let proof = table.get("proof", sink, |node, sink| word(node, &proof, sink));
        merge(&mut self.proof, proof, "proof", sink);
        if let Some(mut switch) = table.get("switch", sink, Table::open) {
            merge(&mut self.workers, switch.get("workers", sink, workers), "workers", sink);
            let fragments = [("track", Fragments::Track), ("drop", Fragments::Drop)];
            let fragments = switch.get("fragments", sink, |node, sink| word(node, &fragments, sink));
            merge(&mut self.fragments, fragments, "fragments", sink);
            switch.close("`[switch]`", sink);
        }
        if let Some(conntrack) = table.get("conntrack", sink, Table::open) {
            self.conntrack.add(conntrack, sink);
        }
    }
}

impl ConntrackText {
    /// The most of anything that may be counted.
    const MOST: u64 = 1 << 26;
    /// Longest time after a start, in seconds: an hour.
    const LONGEST_PICK_UP: u64 = 3600;

    fn add(&mut self, mut table: Table<'_>, sink: &mut Sink) {
        let tcp = [("loose", TcpTracking::Loose), ("strict", TcpTracking::Strict)];
        let tcp = table.get("tcp", sink, |node, sink| word(node, &tcp, sink));
        merge(&mut self.tcp, tcp, "tcp", sink);
        let mut number = |setting: &mut Option<_>, key, range| {
            let what = format!("`{key}`");
            let new = table.get(key, sink, |node, sink| integer(node, &what, range, sink));
            merge(setting, new, key, sink);
        };
        number(&mut self.pick_up, "pick_up", 0..=Self::LONGEST_PICK_UP);
        number(&mut self.connections_per_workload, "connections_per_workload", 1..=Self::MOST);
        number(&mut self.half_open_per_workload, "half_open_per_workload", 1..=Self::MOST);
        number(&mut self.fragments_per_workload, "fragments_per_workload", 1..=Self::MOST);
        if let Some(mut timeouts) = table.get("timeouts", sink, Table::open) {
            for timeout in Timeout::ALL {
                let (key, what) = (timeout.name(), format!("`{}`, in seconds,", timeout.name()));
                let range = 1..=u64::from(Timeout::MOST);
                let new = timeouts.get(key, sink, |node, sink| integer(node, &what, range, sink));
                merge(&mut self.timeouts[timeout as usize], new, key, sink);
            }
            timeouts.close("`[conntrack.timeouts]`", sink);
        }
        table.close("`[conntrack]`", sink);
    }

    /// The settings, preset where nothing is said.
    pub(crate) fn settings(&self) -> ConntrackSettings {
        let mut settings = ConntrackSettings::default();
        let take = |setting: &mut u32, text: &Option<Spanned<u64>>| {
            // Every range above ends below 2^32.
            text.iter().for_each(|number| *setting = number.value as u32);
        };
        settings.tcp = self.tcp.map_or(settings.tcp, |tcp| tcp.value);
        take(&mut settings.pick_up, &self.pick_up);
        take(&mut settings.connections_per_workload, &self.connections_per_workload);
        take(&mut settings.half_open_per_workload, &self.half_open_per_workload);
        take(&mut settings.fragments_per_workload, &self.fragments_per_workload);
        for (timeout, text) in Timeout::ALL.into_iter().zip(self.timeouts) {
            text.iter().for_each(|number| settings.timeouts.set(timeout, number.value as u32));
        }
        settings
    }
}

fn merge<T>(setting: &mut Option<Spanned<T>>, new: Option<Spanned<T>>, key: &str, sink: &mut Sink) {
    let Some(new) = new else { return };
    match setting {
        Some(first) => sink.push(
            Diagnostic::new(Code::DuplicateSetting, new.span, format!("`{key}` is set in two files"))
                .related(first.span, "first set here")
                .help("remove one of the two"),
        ),
        None => *setting = Some(new),
    }
}

/// `mode`, as whether it is `audit`.
pub(super) fn mode(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<bool>> {
    word(node, &[("enforce", false), ("audit", true)], sink)
}

/// `deny_with`.
pub(super) fn deny_with(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<DenyWith>> {
    word(node, &[("drop", DenyWith::Drop), ("reject", DenyWith::Reject)], sink)
}

/// `"auto"`, or a number.
fn workers(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<Option<u16>>> {
    match &node.value {
        Value::String(written) if written == "auto" => Some(Spanned::new(None, node.span)),
        Value::String(written) => {
            let text = super::decode::Text { value: shortened(written).into_owned().into(), span: node.span };
            unknown_word(&text, &["auto", "1", "2", "..."], sink);
            None
        }
        _ => {
            let number = integer(node, "the number of workers", 1..=1024, sink)?;
            Some(Spanned::new(Some(number.value as u16), number.span))
        }
    }
}
