//! Regions are told in the words of policies.

use septum_classifier::Classifier;
use septum_classifier::diff::{Change, Comparison, Names};
use septum_rules::load::load_text;
use septum_rules::policy::Policy;

use crate::policies::today;

const SHOP: &str = r#"version = 1
[segment.lan]
subnet = ["10.0.0.0/24", "fd00::/64"]
gateway = ["10.0.0.254"]
[segment.cde]
subnet = "10.1.0.0/24"
[workload.web-1]
segment = "lan"
ip = ["10.0.0.1", "fd00::1"]
mac = "02:00:00:00:00:01"
labels = { app = "web" }
[workload.web-2]
segment = "lan"
ip = ["10.0.0.2", "fd00::2"]
mac = "02:00:00:00:00:02"
labels = { app = "web" }
[workload.api]
segment = "lan"
ip = ["10.0.0.3", "fd00::3"]
mac = "02:00:00:00:00:03"
labels = { app = "api" }
[workload.pay]
segment = "cde"
ip = "10.1.0.1"
labels = { app = "pay" }
[cidr]
corp = ["192.0.2.0/24"]
[[rule]]
name = "web-to-api"
from = "app=web"
to = "app=api"
allow = ["tcp/80"]
"#;

fn policy(text: &str) -> Policy {
    load_text("shop.toml", text).unwrap_or_else(|error| panic!("{error}")).policy
}

/// Each region as `from -> to services change`.
fn told(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (policy(before), policy(after));
    let [old, new] =
        [&before, &after].map(|policy| Classifier::build(policy, today()).expect("within limits"));
    let difference = Comparison::new(&old, &before, &new, &after).run().expect("within the budget");
    let names = Names::new(&before, &after, &difference);
    let region = |region: &septum_classifier::diff::ChangedRegion| {
        let (from, to) = (names.describe(&region.from).join(", "), names.describe(&region.to).join(", "));
        format!("{from} -> {to} {} {:?} {:?}", region.services, region.change(), region.fate())
    };
    difference.regions.iter().map(region).collect()
}

fn with_rule(rule: &str) -> String {
    format!("{SHOP}[[rule]]\nname = \"added\"\n{rule}\n")
}

#[test]
fn a_rule_that_was_added_is_one_region() {
    assert_eq!(Change::Admitted, Change::Admitted);
    let cases = [
        (
            "from = \"app=web\"\nto = \"app=pay\"\nallow = [\"tcp/8443\"]",
            "app=web -> pay tcp/8443 Admitted Stays",
        ),
        (
            "from = \"cidr:corp\"\nto = \"app=web\"\nallow = [\"tcp/22\", \"udp/53\"]",
            "cidr:corp -> app=web tcp/22, udp/53 Admitted Stays",
        ),
        (
            "from = \"app=web\"\nto = \"app=api\"\npriority = 1\ndeny = [\"tcp/80-90\"]",
            "app=web -> api tcp/80 Refused Stays",
        ),
        ("from = \"app=pay\"\nto = \"world\"\nallow = [\"any\"]", "pay -> world any Admitted Stays"),
        ("from = \"\"\nto = \"\"\nallow = [\"any\"]", "app=web -> api any but tcp/80 Admitted Stays"),
        (
            "from = \"app=pay\"\nto = \"app=api\"\nallow = [\"any\"]\nexcept = [{ services = [\"tcp/22\"] }]",
            "pay -> api any but tcp/22 Admitted Stays",
        ),
    ];
    for (rule, expected) in cases {
        let regions = told(SHOP, &with_rule(rule));
        assert!(regions.iter().any(|region| region == expected), "{expected}: {regions:#?}");
    }
}

#[test]
fn workloads_that_come_and_go_are_kept_apart() {
    let payable = with_rule("from = \"app=web\"\nto = \"app=pay\"\nallow = [\"tcp/8443\"]");
    let renamed = payable.replace("[workload.pay]", "[workload.purse]");
    assert_eq!(told(&payable, &renamed), [""; 0], "a name that no rule reads");
    let gone = &payable[..payable.find("[workload.pay]").expect("it is there")];
    let gone = format!("{gone}{}", &payable[payable.find("[cidr]").expect("it is there")..]);
    let regions = told(&payable, &gone);
    assert!(regions.contains(&"app=web -> pay tcp/8443 Refused Removed".to_owned()), "{regions:#?}");
    assert!(regions.iter().all(|region| region.ends_with("Removed")), "{regions:#?}");
    let regions = told(&gone, &payable);
    assert!(regions.contains(&"app=web -> pay tcp/8443 Admitted Added".to_owned()), "{regions:#?}");
    assert!(regions.iter().all(|region| region.ends_with("Added")), "{regions:#?}");
    let moved = payable.replace("ip = \"10.1.0.1\"", "ip = \"10.1.0.9\"");
    let regions = told(&payable, &moved);
    assert!(regions.iter().any(|region| region.contains("10.1.0.9 (was world, is pay)")), "{regions:#?}");
    assert!(regions.iter().all(|region| region.ends_with("Moved")), "{regions:#?}");
}

#[test]
fn the_rest_of_the_world_is_told_by_what_it_lacks() {
    let wide = with_rule("from = \"world\"\nto = \"app=pay\"\nallow = [\"tcp/1\"]");
    let narrow = with_rule(
        "from = \"world\"\nto = \"app=pay\"\nallow = [\"tcp/1\"]\nexcept = [{ from = \"cidr:corp\" }]",
    );
    let regions = told(SHOP, &narrow);
    assert!(regions.contains(&"world but cidr:corp -> pay tcp/1 Admitted Stays".to_owned()), "{regions:#?}");
    assert_eq!(told(&narrow, &wide), ["cidr:corp -> pay tcp/1 Admitted Stays"]);
}
