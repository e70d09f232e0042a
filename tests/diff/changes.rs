//! Small changes of a policy, and the randomness behind them.

use proptest::prelude::Rng;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use septum_rules::policy::Policy;

/// Strategies of this seed.
pub(crate) fn runner(seed: u64) -> TestRunner {
    eprintln!("SEPTUM_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// A cheap source of numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(runner: &mut TestRunner) -> Self {
        Self(runner.rng().next_u64())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

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
