//! Writes by name: the closed lists from which tests make their cases, and the verbs that they need.

use serde_json::{Value, json};

use super::Write;
use crate::recipe::{GROUP, VERSION};

/// A kind of object, as the API server serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// In the singular.
    pub kind: &'static str,
    /// In the plural, small.
    pub plural: &'static str,
}

/// Jobs.
pub(super) const JOBS: Resource = Resource { group: "batch", version: "v1", kind: "Job", plural: "jobs" };
/// Pods.
pub(super) const PODS: Resource = Resource { group: "", version: "v1", kind: "Pod", plural: "pods" };
/// Services.
pub(super) const SERVICES: Resource = Resource { group: "", version: "v1", kind: "Service", plural: "services" };
/// Files.
pub(super) const CONFIG_MAPS: Resource = Resource { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps" };
/// Claims.
pub(super) const CLAIMS: Resource = Resource { group: "", version: "v1", kind: "PersistentVolumeClaim", plural: "persistentvolumeclaims" };

impl Resource {
    /// One of our own kinds.
    pub(super) const fn ours(kind: &'static str, plural: &'static str) -> Self {
        Self { group: GROUP, version: VERSION, kind, plural }
    }

    /// As objects write it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Server-side apply of an object that is ours, or of which there is none.
    Apply,
    /// The same, and well where there is one already, whoever made it.
    Ensure,
    /// Server-side apply of a few fields of an object that is there, under a field manager of its own: to let go of them is to apply none.
    Hold,
    /// Deletion of the object of this UID, once what it owns is gone.
    Delete,
    /// Server-side apply of the status, if the object is as it was seen.
    Status,
}

/// A write by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Of all kinds no two have the same.
    pub name: &'static str,
    /// What it does.
    pub act: Act,
    /// To what.
    pub resource: Resource,
}

/// An API verb, as a role grants it.
pub type Verb = (&'static str, String, &'static str);

impl Step {
    pub(super) const fn new(name: &'static str, act: Act, resource: Resource) -> Self {
        Self { name, act, resource }
    }

    /// What it needs. An apply that makes an object needs `create`, too.
    pub fn verbs(&self) -> Vec<Verb> {
        let Resource { group, plural, .. } = self.resource;
        match self.act {
            Act::Apply | Act::Ensure => ["create", "get", "patch"].map(|verb| (group, plural.to_owned(), verb)).to_vec(),
            Act::Hold => vec![(group, plural.to_owned(), "patch")],
            Act::Delete => vec![(group, plural.to_owned(), "delete")],
            Act::Status => vec![(group, format!("{plural}/status"), "patch")],
        }
    }

    /// The write of this object, or of this status.
    pub(super) fn write(&'static self, object: Value) -> Write {
        Write { step: self, object }
    }

    /// The same of an object that was seen, and no other of its name: its end, or no field of it held.
    pub(super) fn of(&'static self, seen: &Value) -> Write {
        let metadata = &seen["metadata"];
        let object = json!({
            "apiVersion": self.resource.api_version(),
            "kind": self.resource.kind,
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
        });
        Write { step: self, object }
    }
}
