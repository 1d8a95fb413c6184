//! Manifests as people and `kubectl get -o yaml` write them: read with the place of each object, and expanded to the
//! pods that the controllers would make of them.
//!
//! It decides which pods there would be and what they look like. Whether the API server takes them and where they go
//! is decided by who asks (`sim`). Pure functions over JSON values; nothing is fetched.

mod controllers;
mod foreign;
mod gangs;
mod names;
pub mod openb;
mod quota;
mod read;
mod simulated;
mod trainers;

use serde_json::Value;
use thiserror::Error;

pub use gangs::{gang_of_cluster, gang_of_workload};
pub use quota::{charge, hard_limits};
pub use read::{Document, FILE_BYTES_MAX, Place, ReadError, read};
pub(super) use simulated::expression;
pub use simulated::{Namespaces, node_extra, pod};

/// What a manifest stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Expanded {
    /// These pods.
    Pods {
        /// As the API server would store them, but for what it makes up itself (`status`, `creationTimestamp`).
        pods: Vec<Value>,
        /// What a reader should know of how they came about.
        note: Option<String>,
    },
    /// No pods, by its nature (a Service, a ConfigMap).
    None,
    /// Pods perhaps, but not any that we can tell; the text says why.
    Skipped(String),
}

/// Why a manifest was not expanded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExpandError {
    /// A field that the kind cannot do without.
    #[error("{kind} without `{path}`")]
    Missing {
        /// The kind.
        kind: String,
        /// Which field.
        path: &'static str,
    },
    /// More pods than are taken.
    #[error("{kind} {name} asks for {count} pods, at most {PODS_MAX} are simulated")]
    TooMany {
        /// The kind.
        kind: String,
        /// Its name.
        name: String,
        /// How many.
        count: u64,
    },
}

/// How many pods one manifest may stand for.
pub const PODS_MAX: u64 = 100_000;

/// The pods of a manifest. `eligible` names the nodes on which a DaemonSet's pod would be made.
///
/// # Errors
/// A manifest that the API server would refuse for its shape, or one too large.
pub fn expand(object: &Value, eligible: &dyn Fn(&Value) -> Vec<String>) -> Result<Expanded, ExpandError> {
    let group = object["apiVersion"].as_str().unwrap_or_default().split_once('/').map_or("", |(group, _)| group);
    let kind = object["kind"].as_str().unwrap_or_default();
    match (group, kind) {
        ("", "Pod") => controllers::bare(object),
        ("", "PodTemplate") => controllers::template(object),
        ("apps", "Deployment") => controllers::deployment(object),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => controllers::replica_set(object),
        ("apps", "StatefulSet") => controllers::stateful_set(object),
        ("apps", "DaemonSet") => controllers::daemon_set(object, eligible),
        ("batch", "Job") => controllers::job(object),
        ("batch", "CronJob") => controllers::cron_job(object),
        _ => trainers::expand(group, kind, object).unwrap_or_else(|| foreign::expand(group, kind, object)),
    }
}

/// The namespace of an object.
pub fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().filter(|name| !name.is_empty()).unwrap_or("default")
}

/// The name of an object; what `generateName` would become for one that has none.
pub fn name(object: &Value) -> Option<String> {
    let metadata = &object["metadata"];
    let given = metadata["name"].as_str().filter(|name| !name.is_empty()).map(String::from);
    given.or_else(|| {
        let prefix = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty())?;
        Some(format!("{prefix}{}", names::suffix(&[namespace(object), prefix], 5)))
    })
}
