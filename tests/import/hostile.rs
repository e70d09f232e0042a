//! Manifests that are wrong, or mean harm: each ends in a diagnostic with its place, never in a panic or a hang.

use septum_rules::import::kubernetes::{Options, import};
use septum_rules::load::Input;

/// `CODE LINE:COLUMN` of the first error.
fn first_error(bytes: impl Into<Vec<u8>>) -> String {
    match import(vec![Input::new("m.yaml", bytes)], Options::default()) {
        Ok(imported) => format!("none:\n{}{}", imported.warnings, imported.policy),
        Err(diagnostics) => {
            let item = diagnostics
                .items
                .iter()
                .find(|item| item.code.number() < 900)
                .expect("a failed import has an error");
            let place = diagnostics.sources.place(item.span);
            format!("{} {}:{}", item.code, place.line, place.column)
        }
    }
}

fn policy(spec: &str) -> String {
    format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n")
}

fn cluster_policy(rule: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\n\
         spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, egress: [{rule}]}}\n"
    )
}

#[test]
fn what_kubernetes_would_refuse_is_refused_at_its_place() {
    let ingress = |rule: &str| policy(&format!("{{podSelector: {{}}, ingress: [{rule}]}}"));
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("a: [b", "S0701 1:6"),
        ("a: b\n- c\n", "S0701 2:3"),
        ("a: !odd b", "S0701 1:4"),
        ("? [a]\n: b", "S0701 1:3"),
        ("just text", "S0702 1:1"),
        ("metadata: {name: x}", "S0702 1:1"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "S0203 3:11"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: \"Big Name\"}\n", "S0703 3:18"),
        ("apiVersion: v1\nkind: Pod\nkind: Pod\n", "S0103 3:1"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: 1}}\n", "S0202 3:33"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: \"b c\"}}\n", "S0703 3:33"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {podIP: 10.0.0}\n", "S0403 4:17"),
        ("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\n", "S0704 2:7"),
        ("apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p}\n", "S0704 2:7"),
        (&*policy("[]"), "S0202 4:7"),
        (&*policy("{podSelektor: {}}"), "S0201 4:8"),
        (&*policy("{podSelector: {matchLabel: {a: b}}}"), "S0201 4:22"),
        (&*policy("{policyTypes: [Inbound]}"), "S0204 4:22"),
        (&*ingress("{from: [{}]}"), "S0703 4:43"),
        (&*ingress("{form: []}"), "S0201 4:36"),
        (&*ingress("{from: [{ipBlock: {cidr: 10.0.0.0}}]}"), "S0404 4:60"),
        (&*ingress("{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}"), "S0703 4:81"),
        (&*ingress("{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}"), "S0703 4:53"),
        (&*ingress("{ports: [{port: \"80\"}]}"), "S0703 4:51"),
        (&*ingress("{ports: [{port: 0}]}"), "S0205 4:51"),
        (&*ingress("{ports: [{port: 70000}]}"), "S0205 4:51"),
        (&*ingress("{ports: [{port: 80, endPort: 79}]}"), "S0703 4:64"),
        (&*ingress("{ports: [{port: http, endPort: 90}]}"), "S0703 4:66"),
        (&*ingress("{ports: [{endPort: 90}]}"), "S0703 4:54"),
        (&*ingress("{ports: [{port: 80, protocol: ICMP}]}"), "S0204 4:65"),
        (&*ingress("{from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}"), "S0703 4:77"),
        (
            &*ingress("{from: [{podSelector: {matchExpressions: [{key: a, operator: Gt, values: [b]}]}}]}"),
            "S0204 4:96",
        ),
        (&*ingress("{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: http}]}"), "none"),
        (&*cluster_policy("{action: Accept, to: [{nodes: {}}]}"), "S0704 4:100"),
        (&*cluster_policy("{action: Accept, to: []}"), "S0703 4:91"),
        (&*cluster_policy("{action: Reject, to: [{namespaces: {}}]}"), "S0204 4:79"),
        (
            &*cluster_policy(
                "{action: Deny, to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: web}]}",
            ),
            "S0704 4:152",
        ),
    ] {
        let found = first_error(text);
        if !found.starts_with(expected) {
            wrong.push(format!("expected {expected}, found {found} of\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn objects_that_are_there_twice_are_refused() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n";
    assert_eq!(first_error(format!("{pod}---\n{pod}")), "S0705 7:18");
    let addressed = |name: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nstatus: {{podIP: 10.0.0.1}}\n")
    };
    assert_eq!(first_error(format!("{}---\n{}", addressed("a"), addressed("b"))), "S0705 8:18");
}

#[test]
fn what_cannot_be_said_is_left_out_aloud() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true}\n---\n\
                apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\n\
                apiVersion: example.com/v1\nkind: Firewall\nmetadata: {name: f}\n";
    assert!(import(vec![Input::new("m.yaml", text)], Options::default()).is_err());
    let imported = import(vec![Input::new("m.yaml", text)], Options { skip_unsupported: true }).unwrap();
    assert_eq!(imported.pods, 0);
    assert!(imported.policy.contains("#   m.yaml:4:21: the pod `default/p` lives in its node's network"));
    assert!(imported.policy.contains("#   m.yaml:11:7: `Firewall` of `example.com/v1` is not known"));
    let warnings = imported.warnings.to_string();
    assert!(warnings.contains("1 x Service: no part in what is admitted"), "{warnings}");
}

#[test]
fn a_rule_whose_peers_are_all_left_out_does_not_come_to_mean_everybody() {
    let text = cluster_policy("{action: Accept, to: [{nodes: {}}]}");
    let imported = import(vec![Input::new("m.yaml", text)], Options { skip_unsupported: true }).unwrap();
    assert_eq!(imported.rules, 0);
}

#[test]
fn bombs_end_early() {
    let mut laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ('b'..='j').zip('a'..) {
        laughs += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","));
    }
    assert!(first_error(laughs).starts_with("S0104 "));
    assert!(first_error("[".repeat(100_000)).starts_with("S0701 1:256"));
    assert!(first_error("a:\n").starts_with("S0702"));
    assert!(first_error("{a: ".repeat(100_000)).starts_with("S0701"));
    assert!(first_error("- ".repeat(100_000)).starts_with("S0104"));
    let nested: String = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(first_error(nested).starts_with("S0104"));
    assert!(first_error("a: &a [*a]").starts_with("S07"));
    let replicas = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s}\nspec: {replicas: 2000000000, template: {}}\n";
    assert_eq!(first_error(replicas), "S0104 3:18");
    let wide: String = (0..200_000).map(|number| format!("k{number}: v\n")).collect();
    assert!(first_error(wide).starts_with("S0702"));
    assert!(first_error(format!("a: {}", "x".repeat(8 << 20))).starts_with("S0702"));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    assert_eq!(first_error(b"a: \xff".to_vec()), "S0101 1:4");
    assert!(first_error(b"a: \0b".to_vec()).starts_with("S07"));
    assert_eq!(first_error(vec![b' '; (64 << 20) + 1]), "S0104 1:1");
    assert!(first_error("\u{feff}apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n").starts_with("none"));
}

/// Cuts, doubled lines and flipped bytes of good manifests: whatever comes out, it comes out.
#[test]
fn broken_manifests_never_panic() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/import");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[at] = b"{}[]:,-&*!|>'\"%@ \n\t0"[at % 20];
            for broken in [bytes[..at].to_vec(), bytes[at..].to_vec(), flipped] {
                let outcome =
                    import(vec![Input::new("m.yaml", broken)], Options { skip_unsupported: at % 2 == 0 });
                if let Ok(imported) = outcome {
                    septum_rules::load::load_text("imported", &imported.policy)
                        .unwrap_or_else(|error| panic!("{error}\n{}", imported.policy));
                }
                tried += 1;
            }
        }
    }
    super::support::say(&format!("broken manifests: {tried} tried"));
}
