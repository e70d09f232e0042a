//! A policy file whose namespaces are made as it names them: anonymous, held by the test, known to the switch by the
//! path of the test's descriptor.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use septum::sys::namespace::NetworkNamespace;
use septum_rules::load::{self, Input};
use serde_json::Value;
use tempfile::TempDir;

use crate::host::{Host, PATIENCE};
use crate::links;
use crate::running::Running;

/// A policy and its hosts.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: TempDir,
    namespaces: BTreeMap<String, NetworkNamespace>,
    hosts: BTreeMap<String, Arc<Host>>,
}

impl Lab {
    /// Writes a policy, and makes a namespace for every `netns = "NAME"` in it.
    pub(crate) fn new(policy: &str) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let mut lab = Self { folder, namespaces: BTreeMap::new(), hosts: BTreeMap::new() };
        lab.write_with_hosts(policy)?;
        Ok(lab)
    }

    /// Replaces the policy file, whether or not that makes sense.
    pub(crate) fn write(&mut self, policy: &str) -> Result<(), Failed> {
        let mut text = String::with_capacity(policy.len());
        for line in policy.split_inclusive('\n') {
            text.push_str(&self.with_path(line)?);
        }
        Ok(fs::write(self.policy(), text)?)
    }

    /// Replaces the policy file by one with other workloads.
    pub(crate) fn write_with_hosts(&mut self, policy: &str) -> Result<(), Failed> {
        self.write(policy)?;
        let loaded = load::load(Input::new("lab", fs::read(self.policy())?), &mut |_: &str, _: &str| {
            Err("none".into())
        })
        .map_err(|diagnostics| diagnostics.to_string())?;
        self.add_hosts(&loaded.policy)
    }

    /// A line whose `netns = "NAME"` is made a path; what is no name stays.
    fn with_path(&mut self, line: &str) -> Result<String, Failed> {
        let is_key = line.trim_start().starts_with("netns");
        let Some((before, (name, after))) =
            line.split_once('"').and_then(|(before, rest)| Some((before, rest.split_once('"')?)))
        else {
            return Ok(line.to_owned());
        };
        if !is_key || name.starts_with('/') || name.starts_with("pid:") {
            return Ok(line.to_owned());
        }
        if !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.to_owned(), NetworkNamespace::anonymous()?);
        }
        let number = self.namespaces[name].as_fd().as_raw_fd();
        // As this `/proc` counts processes: another than this namespace's where a second one was refused.
        let process = fs::read_link("/proc/self")?;
        Ok(format!("{before}\"/proc/{}/fd/{number}\"{after}", process.display()))
    }

    fn add_hosts(&mut self, policy: &septum_rules::policy::Policy) -> Result<(), Failed> {
        for workload in &policy.workloads {
            let port = workload.port.as_ref().ok_or("a workload without a device")?;
            let Some(septum_rules::workload::Namespace::Path(path)) = &port.namespace else {
                return Err("a workload without a namespace".into());
            };
            let host = Host {
                namespace: NetworkNamespace::open_path(path)?,
                device: port.device.to_string(),
                mac: workload.mac.ok_or("a workload without a MAC")?,
                addresses: workload.addresses.clone(),
            };
            self.hosts.insert(workload.name.to_string(), Arc::new(host));
        }
        Ok(())
    }

    /// The policy file.
    pub(crate) fn policy(&self) -> PathBuf {
        self.folder.path().join("policy.toml")
    }

    /// A file beside the policy.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A workload's host.
    pub(crate) fn host(&self, name: &str) -> Arc<Host> {
        Arc::clone(&self.hosts[name])
    }

    /// Starts a switch whose event log is [`Lab::events`].
    pub(crate) fn start(&self) -> Result<Running, Failed> {
        Running::start(&self.policy(), &["--events", path_text(&self.path("events"))?])
    }

    /// The event log so far.
    pub(crate) fn events(&self) -> Result<Vec<Value>, Failed> {
        let text = fs::read_to_string(self.path("events"))?;
        // The last line may be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// Waits for an event in which all these fields have these values.
    pub(crate) fn await_event(&self, fields: &[(&str, &str)]) -> Result<Value, Failed> {
        let has_all = |event: &Value| fields.iter().all(|(key, value)| event[key] == *value);
        self.await_event_that(&format!("{fields:?}"), has_all)
    }

    /// Waits for an event that `fits`; `wanted` says which in the report when none comes.
    pub(crate) fn await_event_that(
        &self,
        wanted: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events()?;
            if let Some(event) = events.iter().find(|event| fits(event)) {
                return Ok(event.clone());
            }
            if Instant::now() > deadline {
                let last: Vec<_> = events.iter().rev().take(20).map(Value::to_string).collect();
                return Err(format!("no event {wanted}; the last are:\n{}", last.join("\n")).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nothing is left of the switch in any namespace.
    pub(crate) fn assert_empty(&self) -> Result<(), Failed> {
        self.namespaces.keys().try_for_each(|name| self.assert_empty_namespace(name))
    }

    /// Nothing is left of the switch in the namespace `name`.
    pub(crate) fn assert_empty_namespace(&self, name: &str) -> Result<(), Failed> {
        // A device whose process has ended is taken apart a little later.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = links::added_to(&self.namespaces[name])?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("left in {name}: {left:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A path as an argument.
pub(crate) fn path_text(path: &Path) -> Result<&str, Failed> {
    path.to_str().ok_or_else(|| "a path that is no text".into())
}
