//! File-wide settings and `[switch]`. Several files share one set; each setting may be made once.

use super::decode::{Spanned, Table, integer, unknown_word, word};
use super::shortened;
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
        let Some(mut switch) = table.get("switch", sink, Table::open) else { return };
        merge(&mut self.workers, switch.get("workers", sink, workers), "workers", sink);
        let fragments = [("track", Fragments::Track), ("drop", Fragments::Drop)];
        let fragments = switch.get("fragments", sink, |node, sink| word(node, &fragments, sink));
        merge(&mut self.fragments, fragments, "fragments", sink);
        switch.close("`[switch]`", sink);
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
