//! A PersistentVolume, so far as it says where its pods can run.

use std::sync::Arc;

use super::{PodKey, Requirement};

/// A PersistentVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// The PersistentVolumeClaim that it is bound to, or kept for; none also where that claim is gone.
    pub claim: Option<PodKey>,
    /// `spec.nodeAffinity.required`: terms of which one must hold; absent means that every node reaches it.
    pub reachable: Option<Vec<Vec<Requirement>>>,
}
