//! ResourceQuota, so far as the API server cannot count it: shares beside whole devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Requirement, ResourceName};

/// A ResourceQuota with lines on managed resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Its `requests.<resource>` lines on managed resources.
    pub hard: Vec<(ResourceName, u32)>,
}

/// A PodDisruptionBudget, so far as preemption asks: how many more of its pods may go now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `spec.selector`: labels of the pods that it covers; none selects nobody, and no requirement selects all.
    pub selector: Option<Vec<Requirement>>,
    /// `status.disruptionsAllowed`.
    pub disruptions_allowed: i32,
}

impl Budget {
    /// Whether a pod of its namespace with these labels is under it.
    pub fn covers(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        self.selector.as_ref().is_some_and(|requirements| requirements.iter().all(|requirement| requirement.satisfied(labels)))
    }
}

/// A PriorityClass: what a priority name means (a bound pod carries the number itself).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityClass {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `value`.
    pub value: i32,
    /// `globalDefault`.
    pub global_default: bool,
    /// `preemptionPolicy` is Never.
    pub never_preempts: bool,
}
