//! `NetworkPolicy`, `ClusterNetworkPolicy`, `AdminNetworkPolicy` and `BaselineAdminNetworkPolicy`, with the namespaces and
//! pods that they speak of, to one policy file.
//!
//! A pod becomes the workload `namespace/pod`, its gates open, its labels `pod.KEY` and `ns.KEY`; the semantics page says
//! how policies become rules, and the modules below say where Kubernetes' own rules are subtle.
//!
//! The types are our own and not those of `k8s-openapi`: those ignore unknown fields, so that a misspelled `podSelector`
//! would select everybody, and keep no places, so that no error could say `file:line`. Fields that decide what is
//! admitted are read strictly; the rest of an object is not read at all.
//!
//! Cost: linear in the objects, but for named ports (each looks at every pod).

mod cluster_policy;
mod network_policy;
mod peers;
mod pod;
mod ports;
mod role;
mod rules;
mod selector;
mod write;
mod yaml;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use self::pod::{ObjectLabels, Pod, Template};
use self::role::Role;
use self::rules::{Directory, Networks, RuleDraft};
use self::selector::{NAMESPACE_NAME, Whose};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sink};
use crate::document::decode::{Table, text};
use crate::document::shortened;
use crate::load::{Input, MOST_BYTES};
use crate::segment::Labels;
use crate::source::{FileId, Sources, Span};
use crate::syntax::{Node, Value, decode_utf8};

/// Files of one import.
const MOST_FILES: usize = 4096;

/// How to import.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What a policy cannot say becomes a comment and a warning instead of an error.
    pub skip_unsupported: bool,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Imported {
    /// A policy file.
    pub policy: String,
    /// What the reader should know: what was left out, and what the manifests leave open.
    pub warnings: Diagnostics,
    /// Workloads in the file.
    pub pods: usize,
    /// Policy objects that were read.
    pub policies: usize,
    /// Rules in the file.
    pub rules: usize,
}

/// Imports manifests: YAML of several documents, or JSON; objects, or lists of them.
///
/// # Errors
/// All that is wrong, with places; at least one of the items is an error.
pub fn import(inputs: Vec<Input>, options: Options) -> Result<Imported, Diagnostics> {
    let mut sources = Sources::default();
    let mut sink = Sink::default();
    let mut texts = Vec::new();
    for input in inputs {
        texts.extend(read(input, &mut sources, &mut sink));
    }
    let sources = Arc::new(sources);
    let mut import = Import {
        sources: Arc::clone(&sources),
        sink,
        skip: options.skip_unsupported,
        left_out: Vec::new(),
        networks: Networks::default(),
    };
    let mut inventory = Inventory::default();
    for (file, text) in &texts {
        for document in yaml::documents(text, *file, &mut import.sink) {
            inventory.add(document, None, &mut import);
        }
    }
    let imported = inventory.finish(&mut import);
    let failed = import.sink.errors() > 0;
    let diagnostics = import.sink.into_diagnostics(sources);
    if failed { Err(diagnostics) } else { Ok(Imported { warnings: diagnostics, ..imported }) }
}

fn read(input: Input, sources: &mut Sources, sink: &mut Sink) -> Option<(FileId, Arc<str>)> {
    let Input { name, mut bytes } = input;
    if sources.files().len() >= MOST_FILES {
        let message = format!("an import has at most {MOST_FILES} files");
        sink.report(Code::TooLarge, Span::default(), message);
        return None;
    }
    let too_large = bytes.len() > MOST_BYTES;
    if too_large {
        bytes.clear();
    }
    let (text, broken) = decode_utf8(bytes);
    let text: Arc<str> = Arc::from(text);
    let file = sources.add(name, Arc::clone(&text));
    if too_large {
        let message = format!("a manifest has at most {MOST_BYTES} bytes");
        sink.push(Diagnostic::new(Code::TooLarge, Span::new(file, 0..0), message).help("split it"));
        return None;
    }
    if let Some((at, byte)) = broken {
        let message = format!("the byte 0x{byte:02x} is not UTF-8");
        sink.report(Code::InvalidUtf8, Span::new(file, at..at), message);
        return None;
    }
    Some((file, text))
}

/// What is collected along the way.
struct Import {
    sources: Arc<Sources>,
    sink: Sink,
    skip: bool,
    /// What `--skip-unsupported` left out, for the comment.
    left_out: Vec<String>,
    networks: Networks,
}

impl Import {
    /// Reports something that a policy cannot say.
    fn unsupported(&mut self, span: Span, message: String) {
        if self.skip {
            self.left_out.push(format!("{}: {message}", self.sources.place(span)));
            self.sink.report(Code::LeftOut, span, format!("left out: {message}"));
        } else {
            let help = "with `--skip-unsupported` a comment stands in its place";
            self.sink.push(Diagnostic::new(Code::Unsupported, span, message).help(help));
        }
    }
}

/// An object, its metadata opened.
struct Head<'t> {
    kind: String,
    /// `default` where the object names none.
    namespace: String,
    name: String,
    /// Where its name stands.
    span: Span,
    metadata: Table<'t>,
    body: Table<'t>,
}

/// What the objects say.
#[derive(Default)]
struct Inventory {
    namespaces: BTreeMap<String, ObjectLabels>,
    pods: Vec<Pod>,
    templates: Vec<Template>,
    drafts: Vec<RuleDraft>,
    policies: usize,
    /// Every object: kind, namespace, name.
    seen: HashMap<(String, String, String), Span>,
    /// Cluster-wide policies by their place in the order.
    orders: HashMap<cluster_policy::Order, Span>,
    ignored: BTreeMap<String, (usize, Span)>,
}

impl Inventory {
    /// Adds an object, or the items of a list. Items of a typed list may leave out what the list says.
    fn add(&mut self, node: Node<'_>, of_list: Option<(&str, &str)>, import: &mut Import) {
        let span = node.span;
        if !matches!(node.value, Value::Table(_)) {
            let message = format!("expected an object, found {}", node.value.kind());
            import.sink.report(Code::NotAnObject, span, message);
            return;
        }
        let Some(mut body) = Table::open(node, &mut import.sink) else { return };
        let mut field = |key, sink: &mut Sink| body.get(key, sink, text);
        let api_version = field("apiVersion", &mut import.sink);
        let kind = field("kind", &mut import.sink);
        let kind_span = kind.as_ref().map_or(span, |kind| kind.span);
        let of = |given: Option<crate::document::decode::Text<'_>>, of_list: Option<&str>| {
            given.map(|text| text.value.into_owned()).or(of_list.map(str::to_owned))
        };
        let api_version = of(api_version, of_list.map(|list| list.0));
        let kind = of(kind, of_list.map(|list| list.1));
        let (Some(api_version), Some(kind)) = (api_version, kind) else {
            let message = "the object lacks `apiVersion` or `kind`";
            import.sink.report(Code::NotAnObject, span, message);
            return;
        };
        if let Some(item_kind) = kind.strip_suffix("List")
            && let Some(items) = body.take("items")
        {
            let of_list = (!item_kind.is_empty()).then_some((&*api_version, item_kind));
            match items.value {
                Value::Array(items) => items.into_iter().for_each(|item| self.add(item, of_list, import)),
                other => {
                    let message = format!("expected a list, found {}", other.kind());
                    import.sink.report(Code::WrongType, items.span, message);
                }
            }
            return;
        }
        if kind == "List" || kind.ends_with("PolicyList") {
            import.sink.report(Code::MissingKey, kind_span, format!("the {kind} lacks `items`"));
            return;
        }
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let Some(is) = Role::of(group, &api_version, &kind) else {
            let message = format!("`{}` of `{}` is not known", shortened(&kind), shortened(&api_version));
            return import.unsupported(kind_span, format!("{message}: it may decide what is admitted"));
        };
        if is == Role::Irrelevant {
            self.ignored.entry(kind).or_insert((0, kind_span)).0 += 1;
            return;
        }
        if let Some(head) = self.head(kind, is, body, import) {
            self.object(head, is, import);
        }
    }

    /// Opens the metadata, and refuses an object that was there before.
    fn head<'t>(
        &mut self,
        kind: String,
        is: Role,
        mut body: Table<'t>,
        import: &mut Import,
    ) -> Option<Head<'t>> {
        let sink = &mut import.sink;
        let node = body.require("metadata", &format!("the {kind}"), sink)?;
        let mut metadata = Table::open(node, sink)?;
        let name_text = metadata.require("name", "`metadata`", sink).and_then(|node| text(node, sink))?;
        let namespace_text = metadata.get("namespace", sink, text);
        let namespace = match &namespace_text {
            Some(text) if !text.value.is_empty() => text.value.clone().into_owned(),
            _ => "default".to_owned(),
        };
        let namespace = if is.is_cluster_wide() { String::new() } else { namespace };
        let named = [
            Some((&*name_text.value, name_text.span)),
            namespace_text.as_ref().map(|text| (&*text.value, text.span)),
        ];
        for (name, span) in named.into_iter().flatten() {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            if name.len() > 253 || !name.bytes().all(plain) {
                let message = format!("`{}` is not a name (a-z, 0-9, `-` and `.`)", shortened(name));
                sink.report(Code::InvalidManifest, span, message);
                return None;
            }
        }
        let name = name_text.value.into_owned();
        if name.is_empty() {
            sink.report(Code::InvalidManifest, name_text.span, "the name is empty");
            return None;
        }
        let key = (kind.clone(), namespace.clone(), name.clone());
        if let Some(first) = self.seen.insert(key, name_text.span) {
            let message = format!("the {kind} `{name}` is there twice");
            sink.push(
                Diagnostic::new(Code::DuplicateObject, name_text.span, message).related(first, "first here"),
            );
            return None;
        }
        Some(Head { kind, namespace, name, span: name_text.span, metadata, body })
    }

    fn object(&mut self, mut head: Head<'_>, is: Role, import: &mut Import) {
        match is {
            Role::Namespace => {
                let labels = pod::labels(&mut head.metadata, &mut import.sink);
                self.namespaces.insert(head.name, labels);
            }
            Role::Pod => self.pods.extend(pod::pod(head, import)),
            Role::Template => self.templates.extend(pod::template(head, import)),
            Role::NetworkPolicy => {
                self.policies += 1;
                self.drafts.extend(network_policy::network_policy(head, import));
            }
            Role::ClusterPolicy => {
                self.policies += 1;
                let span = head.span;
                let Some((order, drafts)) = cluster_policy::cluster_policy(head, import) else { return };
                if let Some(first) = self.orders.insert(order, span) {
                    let message =
                        "another policy of the tier has this priority: Kubernetes leaves their order open; \
                                   here deny goes before pass before allow"
                            .to_owned();
                    let diagnostic = Diagnostic::new(Code::ImportRemark, span, message);
                    import.sink.push(diagnostic.related(first, "the other policy"));
                }
                self.drafts.extend(drafts);
            }
            Role::Irrelevant => {}
        }
    }

    fn finish(mut self, import: &mut Import) -> Imported {
        for (kind, (count, span)) in &self.ignored {
            let message = format!("{count} x {kind}: no part in what is admitted, left out");
            import.sink.report(Code::LeftOut, *span, message);
        }
        pod::expand(std::mem::take(&mut self.templates), &mut self.pods, &mut import.sink);
        self.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.check_pods(import);
        let labels = self.pods.iter().map(|pod| self.labels_of(pod)).collect();
        let mut directory = Directory { labels, used_ports: Default::default() };
        let mut rules = Vec::new();
        for draft in self.drafts {
            rules.extend(rules::rules(draft, &self.pods, &mut directory, import));
        }
        let policy = write::policy(&self.pods, &directory, &rules, self.policies, import);
        Imported {
            policy,
            warnings: Diagnostics::default(),
            pods: self.pods.len(),
            policies: self.policies,
            rules: rules.len(),
        }
    }

    /// Names and addresses are unique; a namespace that nobody described has its automatic label alone.
    fn check_pods(&mut self, import: &mut Import) {
        let mut addresses: HashMap<IpAddr, Span> = HashMap::new();
        let mut previous: Option<&Pod> = None;
        for pod in &self.pods {
            let who = format!("{}/{}", pod.namespace, pod.name);
            if let Some(first) =
                previous.filter(|first| first.namespace == pod.namespace && first.name == pod.name)
            {
                let message = format!("the pod `{who}` is there twice");
                let diagnostic = Diagnostic::new(Code::DuplicateObject, pod.span, message);
                import.sink.push(diagnostic.related(first.span, "also from here"));
            }
            previous = Some(pod);
            for address in &pod.addresses {
                if let Some(first) = addresses.insert(*address, pod.span) {
                    let message = format!("the address {address} of `{who}` is another pod's too");
                    let diagnostic = Diagnostic::new(Code::DuplicateObject, pod.span, message);
                    import.sink.push(diagnostic.related(first, "the other pod"));
                }
            }
            if !self.namespaces.contains_key(&pod.namespace) {
                self.namespaces.insert(pod.namespace.clone(), ObjectLabels::new());
                if pod.namespace != "default" {
                    let message = format!(
                        "the namespace `{}` is not among the objects: of its labels only the automatic one is known",
                        pod.namespace
                    );
                    import.sink.report(Code::ImportRemark, pod.span, message);
                }
            }
        }
    }

    /// The labels that the policy file gives a pod, without those of ports.
    fn labels_of(&self, pod: &Pod) -> Labels {
        let mut labels = Labels::new();
        for (key, value) in self.namespaces.get(&pod.namespace).into_iter().flatten() {
            labels.insert(Whose::Namespace.key(key), Arc::from(&**value));
        }
        // The API server sets it, whatever the manifest says.
        labels.insert(Whose::Namespace.key(NAMESPACE_NAME), Arc::from(&*pod.namespace));
        for (key, value) in &pod.labels {
            labels.insert(Whose::Pod.key(key), Arc::from(&**value));
        }
        labels
    }
}
