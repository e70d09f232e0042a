//! Which address has which identity: fills an [`IdentitySet`] from networks, workloads and gateways.
//!
//! Each family's line of addresses is cut into stretches with the same named networks. A stretch is world,
//! but for the single addresses of workloads and gateways in it, which have identities of their own with the
//! networks of that stretch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use septum_rules::identity::IdentityId;
use septum_rules::policy::Policy;
use septum_rules::selector::Alternative;

use crate::address_map::AddressMap;
use crate::address_trie;
use crate::identities::{Identity, IdentitySet, Kind, network_ranges, point};
use crate::in_force::RulesInForce;
use crate::interval::{Member, Stretch, sets_at, stretches};
use crate::limits::{BuildError, Limits};
use crate::perfect_table;

/// Address to identity, and the identities of those that have no address.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) ipv4: AddressMap<u32>,
    pub(crate) ipv6: AddressMap<u128>,
    /// By workload.
    pub(crate) workloads: Box<[WithoutAddress]>,
    pub(crate) gateway: IdentityId,
    pub(crate) world: IdentityId,
}

/// The identities of a workload that speaks from no address of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithoutAddress {
    /// An imported workload that has none: it lies in no network.
    pub(crate) none: IdentityId,
    /// `0.0.0.0`
    pub(crate) unspecified_ipv4: IdentityId,
    /// `::`
    pub(crate) unspecified_ipv6: IdentityId,
}

impl WithoutAddress {
    #[cfg(test)]
    pub(crate) fn cells(&mut self) -> [crate::cells::Cell<'_>; 3] {
        let Self { none, unspecified_ipv4, unspecified_ipv6 } = self;
        [none, unspecified_ipv4, unspecified_ipv6].map(|identity| crate::cells::Cell::Word(&mut identity.0))
    }
}

impl Addresses {
    /// # Errors
    /// A limit, see [`BuildError`].
    pub(crate) fn compile(
        policy: &Policy,
        rules: &RulesInForce<'_>,
        identities: &mut IdentitySet<'_>,
        limits: &Limits,
    ) -> Result<Self, BuildError> {
        let world = identities.nobody(Kind::World);
        let gateway = identities.nobody(Kind::Gateway);
        let lines =
            [line(policy, rules, true, identities, limits)?, line(policy, rules, false, identities, limits)?];
        let networks_at = |address: IpAddr| sets_at(&lines[usize::from(address.is_ipv6())], point(address));

        // In the order of their addresses, so that those which follow each other have identities that do (see `address_map`).
        let mut order: Vec<usize> = (0..policy.workloads.len()).collect();
        order.sort_by_key(|at| policy.workloads[*at].addresses.iter().min());
        let mut found = Vec::with_capacity(order.len());
        for number in order {
            let kind = identities.workload(&policy.workloads[number])?;
            let mut at = |address: IpAddr| {
                identities.number(Identity { networks: networks_at(address), ..kind }).map(IdentityId)
            };
            let without = WithoutAddress {
                unspecified_ipv4: at(Ipv4Addr::UNSPECIFIED.into())?,
                unspecified_ipv6: at(Ipv6Addr::UNSPECIFIED.into())?,
                none: IdentityId(identities.number(kind)?),
            };
            found.push((number, kind, without));
        }
        found.sort_unstable_by_key(|(number, ..)| *number);
        let (workload_kinds, workloads): (Vec<Identity>, Vec<WithoutAddress>) =
            found.into_iter().map(|(_, kind, without)| (kind, without)).unzip();

        // The order of claims is the reference evaluator's: declared, gateway, made from the MAC.
        let mut owners: HashMap<IpAddr, Identity, ahash::RandomState> = HashMap::default();
        for (workload, kind) in policy.workloads.iter().zip(&workload_kinds) {
            for address in &workload.addresses {
                owners.entry(*address).or_insert(*kind);
            }
        }
        for address in policy.segments.iter().flat_map(|segment| &segment.gateways) {
            owners.entry(*address).or_insert(gateway);
        }
        for (workload, kind) in policy.workloads.iter().zip(&workload_kinds) {
            for address in workload.all_addresses() {
                owners.entry(address).or_insert(*kind);
            }
        }
        let mut hosts: [Vec<(u128, u32)>; 2] = [Vec::new(), Vec::new()];
        let mut owners: Vec<(IpAddr, Identity)> = owners.into_iter().collect();
        owners.sort_unstable_by_key(|(address, _)| *address);
        for (address, kind) in owners {
            let identity = identities.number(Identity { networks: networks_at(address), ..kind })?;
            hosts[usize::from(address.is_ipv6())].push((point(address), identity));
        }
        let [ipv4, ipv6] = &lines;
        Ok(Self {
            ipv4: map(ipv4, &hosts[0], world, identities)?,
            ipv6: map(ipv6, &hosts[1], world, identities)?,
            workloads: workloads.into_boxed_slice(),
            gateway: IdentityId(identities.number(gateway)?),
            world: IdentityId(identities.number(world)?),
        })
    }

    /// The identity of an address.
    #[inline(always)]
    pub(crate) fn get(&self, address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => self.ipv4.get(address.to_bits()),
            IpAddr::V6(address) => self.ipv6.get(address.to_bits()),
        }
    }

    #[cfg(test)]
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        use crate::cells::Cell;
        self.ipv4.cells(tables);
        self.ipv6.cells(tables);
        tables.push(("workloads", self.workloads.iter_mut().flat_map(WithoutAddress::cells).collect()));
        let others = vec![Cell::Word(&mut self.gateway.0), Cell::Word(&mut self.world.0)];
        tables.push(("gateways and the world", others));
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.ipv4.memory() + self.ipv6.memory() + size_of_val(&*self.workloads)
    }
}

/// The stretches of one family.
fn line(
    policy: &Policy,
    rules: &RulesInForce<'_>,
    ipv4: bool,
    identities: &mut IdentitySet<'_>,
    limits: &Limits,
) -> Result<Vec<Stretch>, BuildError> {
    let mut members = Vec::new();
    for (set, alternative) in (0..).zip(&rules.alternatives) {
        if let Alternative::Network(network) = alternative {
            let ranges = network_ranges(&policy.networks[network.index()], ipv4);
            members.extend(ranges.into_iter().map(|(first, last)| Member { first, last, set }));
        }
    }
    stretches(&members, &mut identities.sets, limits.set_entries)
}

/// The map of one family; gives the world's identities their numbers.
fn map<K>(
    line: &[Stretch],
    hosts: &[(u128, u32)],
    world: Identity,
    identities: &mut IdentitySet<'_>,
) -> Result<AddressMap<K>, BuildError>
where
    K: address_trie::Key + perfect_table::Key + Default,
{
    // Beyond the last address of IPv4, its line goes on, empty.
    let inside = line.iter().take_while(|stretch| stretch.first <= K::MAX.point());
    let stretches: Result<Vec<(u128, u32)>, BuildError> = inside
        .map(|stretch| Ok((stretch.first, identities.number(Identity { networks: stretch.sets, ..world })?)))
        .collect();
    Ok(AddressMap::build(&stretches?, hosts))
}
