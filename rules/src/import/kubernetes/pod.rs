//! Namespaces, pods, and the templates that pods are made from.
//!
//! Of these objects only what has a part in policy is read; the rest of a pod's hundred fields is nobody's business
//! here, so unknown keys are no errors.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ports::{ContainerPort, container_ports};
use super::selector::{is_key, is_value};
use super::{Head, Import};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::decode::{Table, integer, list, text};
use crate::document::shortened;
use crate::source::Span;
use crate::syntax::Node;

/// Pods that templates may stand for, all together.
const MOST_REPLICAS: u64 = 100_000;

/// Labels as an object carries them.
pub(super) type ObjectLabels = BTreeMap<String, String>;

/// What is read of a pod, or of a template that stands for several.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: ObjectLabels,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: Vec<ContainerPort>,
    /// What it was read from: `Pod`, or the kind that has the template.
    pub(super) kind: String,
    pub(super) span: Span,
}

/// A `Deployment` and its kin.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) pod: Pod,
    replicas: u64,
    /// Its owner, if it has one: the owner stands for the same pods.
    owner: Option<(String, String)>,
}

/// Reads `metadata.labels`.
pub(super) fn labels(metadata: &mut Table<'_>, sink: &mut Sink) -> ObjectLabels {
    let Some(table) = metadata.get("labels", sink, Table::open) else { return ObjectLabels::new() };
    let mut labels = ObjectLabels::new();
    for (key, node) in table.into_named() {
        let Some(value) = text(node, sink) else { continue };
        if is_key(&key.name, key.span, sink) && is_value(&value.value, value.span, sink) {
            labels.insert(key.name.into_owned(), value.value.into_owned());
        }
    }
    labels
}

/// A `Pod`. `None` where it is no endpoint of the policy (which has been said) or wrong.
pub(super) fn pod(head: Head<'_>, import: &mut Import) -> Option<Pod> {
    let Head { namespace, name, span, kind, metadata, mut body, .. } = head;
    let sink = &mut import.sink;
    let mut metadata = metadata;
    let labels = labels(&mut metadata, sink);
    let mut status = body.get("status", sink, Table::open);
    if let Some(status) = &mut status
        && let Some(phase) = status.get("phase", sink, text)
        && matches!(&*phase.value, "Succeeded" | "Failed")
    {
        let message = format!("the pod `{namespace}/{name}` has ended ({}): left out", phase.value);
        sink.report(Code::LeftOut, phase.span, message);
        return None;
    }
    let addresses = status.map(|status| addresses(status, sink)).unwrap_or_default();
    let spec = body.get("spec", sink, Table::open);
    let ports = match spec {
        Some(spec) => pod_spec(spec, &format!("the pod `{namespace}/{name}`"), import)?,
        None => Vec::new(),
    };
    Some(Pod { namespace, name, labels, addresses, ports, kind, span })
}

/// The named ports of a `PodSpec`. `None` where its pods have no address of their own.
fn pod_spec(mut spec: Table<'_>, who: &str, import: &mut Import) -> Option<Vec<ContainerPort>> {
    let sink = &mut import.sink;
    if let Some(host) = spec.get("hostNetwork", sink, crate::document::decode::boolean)
        && host.value
    {
        let message = format!("{who} lives in its node's network, where no NetworkPolicy applies to it");
        import.unsupported(host.span, message);
        return None;
    }
    let mut ports = Vec::new();
    for (key, only_sidecars) in [("containers", false), ("initContainers", true)] {
        if let Some(node) = spec.take(key) {
            ports.extend(container_ports(node, only_sidecars, &mut import.sink));
        }
    }
    Some(ports)
}

fn addresses(mut status: Table<'_>, sink: &mut Sink) -> Vec<IpAddr> {
    let several = status.get("podIPs", sink, |node, sink| {
        Some(list(node, sink, |node, sink| {
            let mut table = Table::open(node, sink)?;
            table.get("ip", sink, address)
        }))
    });
    let several = several.map(|list| list.value).unwrap_or_default();
    if !several.is_empty() {
        return several;
    }
    status.get("podIP", sink, address).into_iter().collect()
}

fn address(node: Node<'_>, sink: &mut Sink) -> Option<IpAddr> {
    let text = text(node, sink)?;
    if text.value.is_empty() {
        return None;
    }
    let address = text.value.parse().ok();
    if address.is_none() {
        let message = format!("`{}` is not an IP address", shortened(&text.value));
        sink.report(Code::MalformedAddress, text.span, message);
    }
    address
}

/// A `Deployment`, `StatefulSet`, `DaemonSet`, `ReplicaSet`, `ReplicationController`, `Job` or `CronJob`.
pub(super) fn template(head: Head<'_>, import: &mut Import) -> Option<Template> {
    let Head { namespace, name, span, kind, metadata, mut body, .. } = head;
    let sink = &mut import.sink;
    let mut metadata = metadata;
    let owner =
        metadata.get("ownerReferences", sink, |node, sink| list(node, sink, owner).value.into_iter().next());
    let mut spec = body.require("spec", "the object", sink).and_then(|node| Table::open(node, sink))?;
    if kind == "CronJob" {
        let job = spec.require("jobTemplate", "a CronJob", sink).and_then(|node| Table::open(node, sink));
        spec = job?.require("spec", "a job's template", sink).and_then(|node| Table::open(node, sink))?;
    }
    let key = if kind == "Job" || kind == "CronJob" { "parallelism" } else { "replicas" };
    let replicas = spec.get(key, sink, |node, sink| integer(node, key, 0..=i32::MAX as u64, sink));
    let replicas = replicas.map_or(1, |replicas| replicas.value);
    let template = spec.require("template", "the object", sink).and_then(|node| Table::open(node, sink));
    let mut template = template?;
    let labels = match template.get("metadata", sink, Table::open) {
        Some(mut metadata) => self::labels(&mut metadata, sink),
        None => ObjectLabels::new(),
    };
    let spec = template.get("spec", sink, Table::open);
    let ports = match spec {
        Some(spec) => pod_spec(spec, &format!("the {kind} `{namespace}/{name}`"), import)?,
        None => Vec::new(),
    };
    let pod = Pod { namespace, name, labels, addresses: Vec::new(), ports, kind, span };
    Some(Template { pod, replicas, owner })
}

fn owner(node: Node<'_>, sink: &mut Sink) -> Option<(String, String)> {
    let mut table = Table::open(node, sink)?;
    let mut field = |key| table.get(key, sink, text).map(|text| text.value.into_owned());
    Some((field("kind")?, field("name")?))
}

/// Adds the pods that templates stand for: `NAME-0`, `NAME-1` and so on, as a StatefulSet names them.
///
/// A template whose owner is there too is left to its owner, and one whose pods are there is left to them.
pub(super) fn expand(templates: Vec<Template>, pods: &mut Vec<Pod>, sink: &mut Sink) {
    let mut left = MOST_REPLICAS;
    let real = pods.len();
    for template in &templates {
        let Template { pod, replicas, owner } = template;
        let owned = owner.as_ref().is_some_and(|(kind, name)| {
            let is_owner =
                |other: &Pod| other.namespace == pod.namespace && other.kind == *kind && other.name == *name;
            templates.iter().any(|other| is_owner(&other.pod))
        });
        let is_made_from = |other: &Pod| {
            other.namespace == pod.namespace
                && other.name.starts_with(&pod.name)
                && pod.labels.iter().all(|(key, value)| other.labels.get(key) == Some(value))
        };
        if owned || pods[..real].iter().any(is_made_from) {
            continue;
        }
        // One for each node; how many there are, no manifest says.
        let replicas = if pod.kind == "DaemonSet" { 1 } else { *replicas };
        if replicas > left {
            let message = format!("templates stand for more than {MOST_REPLICAS} pods");
            sink.push(Diagnostic::new(Code::TooLarge, pod.span, message).help("import pods instead"));
            return;
        }
        left -= replicas;
        for number in 0..replicas {
            pods.push(Pod { name: format!("{}-{number}", pod.name), ..pod.clone() });
        }
    }
}
