//! Reading the policy again: all of it comes into force, or nothing changes.

use std::sync::Arc;

use septum_rules::identity::WorkloadId;
use septum_rules::policy::{Established, Policy, Uplink};
use septum_rules::source::Place;
use septum_rules::workload::PortSpec;

use super::failure::Failure;
use super::run::{Arguments, Running, ready_to_run, trunks, uplink_spec};
use super::{policy_file, prove};
use crate::directory::uplink_port;
use crate::port::{AnyQueue, Inside};
use crate::routes::UplinkId;
use crate::switch::Switch;

/// Replaces the policy in force by what the file says now; gives what to tell.
///
/// # Errors
/// Why nothing was changed.
pub(super) fn reload(
    arguments: &Arguments,
    switch: &mut Switch<AnyQueue>,
    running: &mut Running,
) -> Result<String, Failure> {
    let compiled = policy_file::compile(&arguments.file)?;
    ready_to_run(&compiled, arguments.allow_open)?;
    let compiled = prove::before_it_is_in_force(compiled, arguments.proof_budget)?;
    let standing = compiled.standing;
    let (before, after) = (Arc::clone(&switch.compiled().policy), Arc::clone(&compiled.policy));
    let is_behind_trunk = |workload: &str| {
        let id = before.workload_named(workload)?;
        before.workloads[id.index()].port.as_ref()?.trunk
    };
    let has_port =
        |workload: &str| running.ports.contains_key(workload) || is_behind_trunk(workload).is_some();
    let mut change = PortChange::between(&before, &after, has_port)?;
    let kept = trunks(&after);
    let gone = trunks(&before).into_keys().filter(|trunk| !kept.contains_key(trunk));
    change.detach.extend(gone.filter(|trunk| running.ports.contains_key(trunk)));
    let attach = running.open(&after, &change.attach, &change.attach_uplinks)?;
    let opened: Vec<Arc<str>> = attach.iter().map(|port| Arc::clone(&port.workload)).collect();
    if let Err(error) = switch.change(compiled, attach, &change.detach) {
        opened.iter().for_each(|workload| drop(running.ports.remove(workload)));
        return Err(Failure::because(Failure::ENVIRONMENT, "the new policy cannot come into force", &error));
    }
    change.detach.iter().for_each(|workload| drop(running.ports.remove(workload)));
    let connections = match after.settings.established {
        Established::Recheck => "live connections are judged again at their next packet",
        Established::Keep => "live connections are kept",
    };
    Ok(format!(
        "the policy was read again: {} rules, {} ports attached, {} detached; policy {standing}; {connections}",
        after.rules.len(),
        opened.len(),
        change.detach.len(),
    ))
}

/// Which ports come and go with a policy.
#[derive(Debug)]
struct PortChange {
    attach: Vec<WorkloadId>,
    attach_uplinks: Vec<UplinkId>,
    detach: Vec<Arc<str>>,
}

impl PortChange {
    /// What changes between two policies, where some workloads of the first have lost their ports.
    ///
    /// # Errors
    /// When a device that stays would have to be set up anew, or to pass from one workload to another: both mean
    /// letting go of it first, and then it might be lost.
    fn between(before: &Policy, after: &Policy, has_port: impl Fn(&str) -> bool) -> Result<Self, Failure> {
        let mut attach = Vec::new();
        for (at, workload) in after.workloads.iter().enumerate() {
            let id = WorkloadId(at as u32);
            let known = before.workload_named(&workload.name).filter(|_| has_port(&workload.name));
            let Some(known) = known else {
                if let Some(port) = &workload.port {
                    let place = after.sources.place(workload.span);
                    refuse_held(before, &has_port, port, &workload.name, place)?;
                }
                attach.push(id);
                continue;
            };
            let old = &before.workloads[known.index()];
            let specs = old.port.as_ref().zip(workload.port.as_ref());
            let is_same_device = specs.is_some_and(|(old, new)| old.is_same_device(new));
            let is_set_up_here = workload.port.as_ref().is_some_and(|port| port.configure);
            let inside = |policy, workload, id| Inside::of(workload, Policy::segment_of(policy, id));
            if !is_same_device
                || (is_set_up_here && inside(before, old, known) != inside(after, workload, id))
            {
                return Err(set_up_anew(&workload.name, after.sources.place(workload.span)));
            }
        }
        let mut attach_uplinks = Vec::new();
        for (uplink, at) in after.uplinks.iter().zip(0..) {
            let old = before.uplinks.iter().find(|old| old.name == uplink.name);
            let old = old.filter(|old| has_port(&uplink_port(&old.name)));
            let (spec, place) = (uplink_spec(uplink), after.sources.place(uplink.span));
            match old {
                Some(old) if uplink_spec(old).is_same_device(&spec) => {}
                Some(_) => return Err(set_up_anew(&uplink.name, place)),
                None => {
                    refuse_held(before, &has_port, &spec, &uplink.name, place)?;
                    attach_uplinks.push(UplinkId(at));
                }
            }
        }
        let gone = before.workloads.iter().filter(|workload| after.workload_named(&workload.name).is_none());
        let is_kept = |uplink: &Uplink| after.uplinks.iter().any(|kept| kept.name == uplink.name);
        let gone_uplinks = before.uplinks.iter().filter(|uplink| !is_kept(uplink));
        let detach = gone.map(|workload| Arc::clone(&workload.name));
        let detach = detach.chain(gone_uplinks.map(|uplink| uplink_port(&uplink.name))).collect();
        Ok(Self { attach, attach_uplinks, detach })
    }
}

/// Refuses a device for `name` that is another's so far.
fn refuse_held(
    before: &Policy,
    has_port: impl Fn(&str) -> bool,
    wanted: &PortSpec,
    name: &str,
    place: Place,
) -> Result<(), Failure> {
    let workloads = before.workloads.iter().filter_map(|workload| {
        let port = workload.port.as_ref().filter(|_| has_port(&workload.name))?;
        if port.trunk.is_some() && wanted.trunk.is_some() {
            return None;
        }
        Some((Arc::clone(&workload.name), port.namespace.clone(), Arc::clone(&port.device)))
    });
    let uplinks = before.uplinks.iter().filter(|uplink| has_port(&uplink_port(&uplink.name)));
    let uplinks = uplinks.map(|uplink| (Arc::clone(&uplink.name), None, Arc::clone(&uplink.device)));
    let holder = workloads
        .chain(uplinks)
        .find(|(_, namespace, device)| *namespace == wanted.namespace && *device == wanted.device);
    match holder {
        None => Ok(()),
        Some((holder, ..)) => {
            let reason = format_args!("the device of `{name}` is still that of `{holder}`");
            Err(Failure::new(Failure::INPUT, reason)
                .at(place)
                .fix(format_args!("take `{holder}` out and send SIGHUP; then add this one")))
        }
    }
}

fn set_up_anew(name: &str, place: Place) -> Failure {
    let reason = format_args!("the device of `{name}` would have to be set up anew");
    Failure::new(Failure::INPUT, reason)
        .at(place)
        .fix("take it out and send SIGHUP; then put it back and send it again")
}
