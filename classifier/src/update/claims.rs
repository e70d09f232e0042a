//! Who claims which address, and whose it is: declared, a gateway's, or made from a MAC, in this order.

use std::net::IpAddr;

use hashbrown::HashMap;
use septum_rules::address::successor;
use septum_rules::policy::Policy;
use septum_rules::workload::Workload;

/// All claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_address: HashMap<IpAddr, Vec<Claim>, ahash::RandomState>,
}

/// One claim; the least one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// Declared by a workload.
    Declared(u32),
    /// A gateway's.
    Gateway,
    /// Made from a workload's MAC.
    Made(u32),
}

impl Claim {
    /// The workload that makes it.
    pub(super) fn workload(self) -> Option<u32> {
        match self {
            Self::Declared(workload) | Self::Made(workload) => Some(workload),
            Self::Gateway => None,
        }
    }
}

impl Claims {
    pub(super) fn of(policy: &Policy) -> Self {
        let mut claims = Self::default();
        for (id, workload) in (0..).zip(&policy.workloads) {
            for (address, claim) in claims_of(id, workload) {
                claims.add(address, claim);
            }
        }
        for address in policy.segments.iter().flat_map(|segment| &segment.gateways) {
            claims.add(*address, Claim::Gateway);
        }
        claims
    }

    /// Whose it is.
    pub(super) fn owner(&self, address: IpAddr) -> Option<Claim> {
        self.by_address.get(&address)?.first().copied()
    }

    /// The address behind each one that is claimed.
    pub(super) fn behind(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().filter_map(|address| successor(*address))
    }

    pub(super) fn add(&mut self, address: IpAddr, claim: Claim) {
        let claims = self.by_address.entry(address).or_default();
        claims.push(claim);
        claims.sort_unstable();
    }

    pub(super) fn remove(&mut self, address: IpAddr, claim: Claim) {
        let claims = self.by_address.entry(address).or_default();
        claims.retain(|known| *known != claim);
        if claims.is_empty() {
            self.by_address.remove(&address);
        }
    }

    /// Whether a gateway, or a workload other than this one, declares it.
    pub(super) fn is_declared_by_other(&self, address: IpAddr, workload: Option<u32>) -> bool {
        self.by_address.get(&address).into_iter().flatten().any(|claim| match claim {
            Claim::Declared(by) => Some(*by) != workload,
            Claim::Gateway => true,
            Claim::Made(_) => false,
        })
    }
}

/// Each address that a workload claims, and how.
pub(super) fn claims_of(id: u32, workload: &Workload) -> Vec<(IpAddr, Claim)> {
    let mut claims: Vec<(IpAddr, Claim)> = Vec::new();
    for address in workload.all_addresses() {
        let is_declared = workload.addresses.contains(&address);
        claims.push((address, if is_declared { Claim::Declared(id) } else { Claim::Made(id) }));
    }
    claims.sort_unstable();
    claims.dedup();
    claims
}
