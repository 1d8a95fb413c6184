//! How workers of a framework find each other: one file a framework, one line each in [`ALL`]. A file says which
//! environment a worker gets, and nothing of Kubernetes beyond the completion index that a rank is read from.

mod jax;
mod mpi;
mod plain;
mod pytorch;
mod tensorflow;

use std::collections::BTreeMap;

use super::super::fields::Worker;
use super::super::pod::Variable;
use crate::policy::Mistake;

/// Every framework, in the order that help shows.
pub static ALL: &[Framework] = &[pytorch::PYTORCH, tensorflow::TENSORFLOW, jax::JAX, mpi::MPI, plain::PLAIN];

/// A framework.
#[derive(Debug)]
pub struct Framework {
    /// As specs name it.
    pub name: &'static str,
    /// One line for help.
    pub about: &'static str,
    /// An image that a commented spec begins with.
    image: &'static str,
    /// A command that it begins with.
    command: &'static [&'static str],
    /// Whether it goes on with fewer workers.
    pub(super) elastic: bool,
    /// Where workers listen: name and number.
    pub(super) ports: &'static [(&'static str, u16)],
    /// Variables that users cannot override: without them there is no group.
    pub(super) own: &'static [&'static str],
    environment: fn(&Group) -> Vec<Variable>,
    /// Whether the worker suits it.
    pub(super) check: fn(&Worker) -> Result<(), Mistake>,
    /// A program around the user's, where it needs one.
    pub(super) launch: Option<Launch>,
}

/// A program around the user's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launch {
    /// What is run; the user's command and arguments follow it.
    pub(super) command: &'static [&'static str],
    /// Where its files are mounted.
    pub(super) folder: &'static str,
    pub(super) files: fn(&Group) -> BTreeMap<String, String>,
    /// Secret of its keys, by the spec's name.
    pub(super) secret: fn(&str) -> String,
    /// Where the Secret is mounted.
    pub(super) secret_folder: &'static str,
    /// What has to be done before, by the spec's name.
    pub(super) note: fn(&str) -> String,
}

/// The workers that a framework joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Of the headless Service.
    pub(super) name: String,
    /// Of the Job, before the index in the names of hosts.
    pub(super) hosts: String,
    pub(super) workers: u32,
    pub(super) workers_min: u32,
    /// Accelerators of each.
    pub(super) devices: u32,
    pub(super) tpu: bool,
}

impl Group {
    /// The host name of a worker, as DNS has it within the namespace.
    pub(super) fn host(&self, index: u32) -> String {
        format!("{}-{index}.{}", self.hosts, self.name)
    }

    /// Those of all of them, each with a port behind it where one is given.
    pub(super) fn hosts(&self, port: Option<u16>) -> Vec<String> {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        (0..self.workers).map(|index| format!("{}{port}", self.host(index))).collect()
    }

    /// Where the first worker is found; a worker alone needs no DNS for that.
    pub(super) fn first(&self) -> String {
        if self.is_alone() { "localhost".to_owned() } else { self.host(0) }
    }

    /// The rank of a worker; that of a worker alone is 0, whichever of several such its index says that it is.
    pub(super) fn rank(&self, name: &'static str) -> Variable {
        if self.is_alone() { Variable::text(name, "0") } else { Variable::index(name) }
    }

    /// Whether it can go on with fewer.
    pub(super) fn is_elastic(&self) -> bool {
        self.workers_min < self.workers
    }

    pub(super) fn is_alone(&self) -> bool {
        self.workers == 1
    }
}

impl Framework {
    /// An image that a commented spec begins with.
    pub fn image(&self) -> &'static str {
        self.image
    }

    /// A command that it begins with.
    pub fn command(&self) -> &'static [&'static str] {
        self.command
    }

    /// What each worker finds in its environment, in an order in which later ones may refer to earlier ones.
    pub(super) fn environment(&self, group: &Group) -> Vec<Variable> {
        let mut all = (self.environment)(group);
        if group.tpu && !group.is_alone() {
            all.push(Variable::index("TPU_WORKER_ID"));
            all.push(Variable::text("TPU_WORKER_HOSTNAMES", &group.hosts(None).join(",")));
        }
        if group.devices > 0 && !group.tpu && !group.is_alone() {
            // What NCCL has to complain of is lost without it; INFO is for debugging.
            all.push(Variable::text("NCCL_DEBUG", "WARN"));
        }
        // What a worker prints is seen when it prints it.
        all.push(Variable::text("PYTHONUNBUFFERED", "1"));
        all
    }
}

/// The framework of this name.
pub(super) fn named(name: &str) -> Result<&'static Framework, Mistake> {
    let names: Vec<&str> = ALL.iter().map(|framework| framework.name).collect();
    let short: String = name.chars().take(60).collect();
    ALL.iter().find(|framework| framework.name == name).ok_or_else(|| Mistake::unknown("framework", "framework", &short, &names))
}

/// Of a framework that takes any worker.
#[expect(clippy::unnecessary_wraps, reason = "other frameworks refuse some")]
const fn any(_: &Worker) -> Result<(), Mistake> {
    Ok(())
}

/// One of the names in [`ALL`].
#[cfg(feature = "io")]
pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = ALL.iter().map(|framework| framework.name).collect();
    schemars::json_schema!({"type": "string", "enum": names})
}
