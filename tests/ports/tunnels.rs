//! TCP through the kernel's VXLAN tunnels between two ports, of which each describes super-frames in its own way, or not.

use libtest_mimic::{Failed, Trial};
use septum::port::Substitute;

use crate::kernel;
use crate::namespace::needs_tun;
use crate::ports::{Host, Wire};
use crate::traffic::{PAIRS, transfer};
use crate::vxlan::{CARRIERS, needs_vxlan};

pub(crate) fn trials() -> Vec<Trial> {
    PAIRS
        .into_iter()
        .map(|(name, one, other)| {
            let test = move || super_frames_pass(one, other);
            let trial = Trial::test(format!("tunnels::super_frames_pass_from_{name}"), test);
            needs_vxlan(if one == Substitute::Never { needs_tun(trial) } else { trial })
        })
        .collect()
}

fn super_frames_pass(one: Substitute, other: Substitute) -> Result<(), Failed> {
    let is_told = other == Substitute::Always || kernel::tells_of_tunnels();
    if !is_told {
        eprintln!(
            "this kernel cuts what TAP devices carry in tunnels (before Linux 6.17): only that it arrives"
        );
    }
    for carrier in CARRIERS {
        let mut one = Host::new(1, "left", one)?;
        let mut other = Host::new(2, "right", other)?;
        let family = usize::from(!carrier.ipv4);
        let ends = [one.addresses[family], other.addresses[family]];
        let _one_end = carrier.add(&one.namespace, 1, ends[0], ends[1])?;
        let _other_end = carrier.add(&other.namespace, 2, ends[1], ends[0])?;
        let wire = Wire::between(&mut one.port, &mut other.port);
        for family in 0..2 {
            transfer(&one, &other, carrier.inside(2)[family])?;
            transfer(&other, &one, carrier.inside(1)[family])?;
        }
        let carried = wire.end();
        if is_told && carried.in_tunnels == 0 {
            return Err(format!("{carrier:?}: no super-frame in a tunnel: {carried:?}").into());
        }
    }
    Ok(())
}
