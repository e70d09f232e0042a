//! Reading the policy again: all of it comes into force, or nothing changes.

use std::sync::Arc;

use septum_rules::identity::WorkloadId;
use septum_rules::policy::{Established, Policy};
use septum_rules::workload::Workload;

use super::failure::Failure;
use super::policy_file;
use super::run::{Arguments, Running, ready_to_run};
use crate::port::{AnyQueue, Inside};
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
    let (before, after) = (Arc::clone(&switch.compiled().policy), Arc::clone(&compiled.policy));
    let change = PortChange::between(&before, &after, |workload| running.ports.contains_key(workload))?;
    let attach = running.open(&after, &change.attach)?;
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
        "the policy was read again: {} rules, {} ports attached, {} detached; {connections}",
        after.rules.len(),
        opened.len(),
        change.detach.len(),
    ))
}

/// Which ports come and go with a policy.
#[derive(Debug)]
struct PortChange {
    attach: Vec<WorkloadId>,
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
                let place = |workload: &Workload| {
                    workload.port.as_ref().map(|port| (port.namespace.clone(), Arc::clone(&port.device)))
                };
                let mut holders = before.workloads.iter().filter(|holder| has_port(&holder.name));
                if let Some(holder) = holders.find(|holder| place(holder) == place(workload)) {
                    let reason =
                        format_args!("the device of `{}` is still that of `{}`", workload.name, holder.name);
                    return Err(Failure::new(Failure::INPUT, reason)
                        .at(after.sources.place(workload.span))
                        .fix(format_args!("take `{}` out and send SIGHUP; then add this one", holder.name)));
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
                let reason = format_args!("the device of `{}` would have to be set up anew", workload.name);
                return Err(Failure::new(Failure::INPUT, reason)
                    .at(after.sources.place(workload.span))
                    .fix("take the workload out and send SIGHUP; then put it back and send it again"));
            }
        }
        let detach =
            before.workloads.iter().filter(|workload| after.workload_named(&workload.name).is_none());
        Ok(Self { attach, detach: detach.map(|workload| Arc::clone(&workload.name)).collect() })
    }
}
