//! Addresses that change hands, and workloads of a known kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, SegmentId, WorkloadId};
use septum_rules::workload::Workload;

use super::claims::{Claim, claims_of};
use super::{UpdateError, Updated, Updater};
use crate::addresses::WithoutAddress;
use crate::identities::{Identity, IdentitySet, Kind, Role, role};

const NEW_KIND: UpdateError =
    UpdateError::NeedsCompile("no endpoint with these labels and networks is known yet");

impl Updater {
    /// The number of the identity that an address has at present.
    pub(super) fn identity_at(&self, address: IpAddr) -> u32 {
        match self.overlay.addresses.get(&address) {
            Some(identity) => *identity,
            None => self.plain.identify(address).0,
        }
    }

    /// The identities of a workload without an address, over IPv4's and over IPv6's unspecified one.
    pub(super) fn without_address(&self, workload: u32) -> [u32; 3] {
        let overlaid = self.overlay.workloads.get(&workload).copied();
        let without = overlaid.unwrap_or_else(|| self.plain.addresses.workloads[workload as usize]);
        [without.none, without.unspecified_ipv4, without.unspecified_ipv6].map(|identity| identity.0)
    }

    pub(super) fn set_without_address(&mut self, workload: u32, identities: [u32; 3]) {
        let endpoint = Endpoint::Workload(WorkloadId(workload));
        for (identity, address) in identities.into_iter().zip(WITHOUT) {
            self.identities.members[identity as usize].push(Party { endpoint, address });
        }
        let [none, unspecified_ipv4, unspecified_ipv6] = identities.map(IdentityId);
        let without = WithoutAddress { none, unspecified_ipv4, unspecified_ipv6 };
        self.overlay.workloads.insert(workload, without);
    }

    /// Gives a workload other declared addresses.
    pub(super) fn set_addresses(
        &mut self,
        id: WorkloadId,
        addresses: Vec<IpAddr>,
    ) -> Result<Updated, UpdateError> {
        let mut changed = self.policy.workloads[id.index()].clone();
        let before = claims_of(id.0, &changed);
        changed.addresses = addresses;
        let after = claims_of(id.0, &changed);
        self.exchange_claims(&before, &after);
        let previous = std::mem::replace(&mut self.policy.workloads[id.index()], changed);
        let saved = self.overlay.clone();
        // Whose claims stay keep their identity.
        let changes = |these: &[(IpAddr, Claim)], those: &[(IpAddr, Claim)]| -> Vec<IpAddr> {
            these.iter().filter(|claim| !those.contains(claim)).map(|(address, _)| *address).collect()
        };
        let outcome = self.hand_over([changes(&before, &after), changes(&after, &before)].concat());
        if let Err(error) = &outcome
            && !error.is_wrong()
        {
            self.policy.workloads[id.index()] = previous;
            self.exchange_claims(&after, &before);
            self.overlay = saved;
        }
        outcome
    }

    /// Adds a workload that is like others.
    pub(super) fn add_workload(&mut self, workload: Workload) -> Result<Updated, UpdateError> {
        let id = self.policy.workloads.len() as u32;
        let kind = self.kind_of(&workload)?;
        let mut identities = [0; 3];
        for (identity, address) in identities.iter_mut().zip(WITHOUT) {
            let networks = address.map(|address| self.networks_at(address));
            let wanted = Identity { networks: networks.unwrap_or(kind.networks), ..kind };
            *identity = self.identities.number_of(&wanted).ok_or(NEW_KIND)?;
        }
        let claims = claims_of(id, &workload);
        let saved = self.overlay.clone();
        self.exchange_claims(&[], &claims);
        self.policy.workloads.push(workload);
        self.set_without_address(id, identities);
        let touched = claims.iter().map(|(address, _)| *address).collect();
        let endpoint = Endpoint::Workload(WorkloadId(id));
        let outcome = self.hand_over(touched).and_then(|updated| {
            let candidate = self.candidate();
            let without = WITHOUT.into_iter().map(|address| Party { endpoint, address });
            without.into_iter().try_for_each(|party| self.prove_party(&candidate, party))?;
            Ok(updated)
        });
        match &outcome {
            Err(error) if !error.is_wrong() => {
                self.policy.workloads.pop();
                self.exchange_claims(&claims, &[]);
                self.overlay = saved;
            }
            _ => {
                let added = &self.policy.workloads[id as usize];
                self.names.insert(super::workload_name(&added.name));
                self.identities.label(id, &added.labels);
            }
        }
        outcome
    }

    fn exchange_claims(&mut self, before: &[(IpAddr, Claim)], after: &[(IpAddr, Claim)]) {
        before.iter().for_each(|(address, claim)| self.claims.remove(*address, *claim));
        after.iter().for_each(|(address, claim)| self.claims.add(*address, *claim));
    }

    /// Gives addresses the identity of whom they belong to now, and proves it.
    fn hand_over(&mut self, mut addresses: Vec<IpAddr>) -> Result<Updated, UpdateError> {
        addresses.sort_unstable();
        addresses.dedup();
        let mut changed = Vec::with_capacity(addresses.len());
        for address in addresses {
            let party = self.party_at(address);
            let kind = match party.endpoint {
                Endpoint::Workload(id) => self.kind_of(&self.policy.workloads[id.index()].clone())?,
                Endpoint::Gateway(_) => self.nobody(Kind::Gateway),
                Endpoint::World | Endpoint::Init => self.nobody(Kind::World),
            };
            let wanted = Identity { networks: self.networks_at(address), ..kind };
            changed.push((party, address, self.identities.number_of(&wanted).ok_or(NEW_KIND)?));
        }
        self.prove_split()?;
        for (party, address, identity) in &changed {
            self.overlay.addresses.insert(*address, *identity);
            self.identities.members[*identity as usize].push(*party);
        }
        let candidate = self.candidate();
        for (party, ..) in &changed {
            self.prove_party(&candidate, *party)?;
        }
        Ok(Updated::default())
    }

    /// Whose an address is now.
    pub(super) fn party_at(&self, address: IpAddr) -> Party {
        let gateway = || {
            let is_its = |segment: &septum_rules::segment::Segment| segment.gateways.contains(&address);
            self.policy.segments.iter().position(is_its).unwrap_or_default()
        };
        let endpoint = match self.claims.owner(address) {
            Some(Claim::Declared(id) | Claim::Made(id)) => Endpoint::Workload(WorkloadId(id)),
            Some(Claim::Gateway) => Endpoint::Gateway(SegmentId(gateway() as u32)),
            None => Endpoint::World,
        };
        Party { endpoint, address: Some(address) }
    }

    /// The networks of an address, which hang on nobody.
    fn networks_at(&self, address: IpAddr) -> u32 {
        self.identities.identities[self.identity_at(address) as usize].networks
    }

    /// A workload's identity without its networks.
    fn kind_of(&mut self, workload: &Workload) -> Result<Identity, UpdateError> {
        let role = role(&self.policy, workload)?;
        let labels = self.identities.expressions_of(&workload.labels);
        let labels = self.identities.sets.intern(&labels)?;
        Ok(Identity { kind: Kind::Workload, role, labels, networks: self.nobody(Kind::World).networks })
    }

    fn nobody(&self, kind: Kind) -> Identity {
        let none = self.identities.identities[IdentitySet::INIT as usize].labels;
        Identity { kind, role: Role::default(), labels: none, networks: none }
    }
}

/// What a workload may speak from that is no address of its own.
pub(super) const WITHOUT: [Option<IpAddr>; 3] =
    [None, Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))];
