//! Small changes of a policy.

use septum_rules::policy::Policy;

use crate::random::Random;

/// `policy` with one to three of its parts taken from `other`, or taken out.
pub(crate) fn changed(policy: &Policy, other: &Policy, random: &mut Random) -> Policy {
    let mut after = policy.clone();
    for _ in 0..1 + random.below(3) {
        let (rule, workload) = (random.below(after.rules.len()), random.below(after.workloads.len()));
        match random.below(10) {
            0..=2 if !after.rules.is_empty() => drop(after.rules.remove(rule)),
            3..=5 if !after.rules.is_empty() && !other.rules.is_empty() => {
                let name = after.rules[rule].name.clone();
                after.rules[rule] = other.rules[random.below(other.rules.len())].clone();
                after.rules[rule].name = name;
            }
            6 if after.workloads.len() > 1 => drop(after.workloads.remove(workload)),
            7 => {
                let network = random.below(after.networks.len());
                let (include, except) =
                    (other.networks[network].include.clone(), other.networks[network].except.clone());
                (after.networks[network].include, after.networks[network].except) = (include, except);
            }
            8 if !after.workloads[workload].addresses.is_empty() => {
                after.workloads[workload].addresses.pop();
            }
            _ => {
                let labels = other.workloads[random.below(other.workloads.len())].labels.clone();
                let own = after.workloads[workload].labels.clone();
                let automatic = ["name", "segment"].map(|key| (key.into(), own[key].clone()));
                after.workloads[workload].labels = labels;
                after.workloads[workload].labels.extend(automatic);
            }
        }
    }
    after
}
