//! Nodes that were asked of an autoscaler.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{GangId, OwnerRef, PodKey, PodUid};

/// A ProvisioningRequest of ours, as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisioningRequest {
    /// Namespace and name.
    pub key: PodKey,
    /// Identity.
    pub uid: Arc<str>,
    /// The gang that it was made for.
    pub gang: GangId,
    /// `spec.provisioningClassName`.
    pub class: Arc<str>,
    /// `spec.podSets[].count`.
    pub counts: Vec<u32>,
    /// How far the autoscaler is.
    pub state: ProvisioningState,
    /// What the autoscaler says of it; may be empty.
    pub message: Arc<str>,
}

/// How far an autoscaler is with a request, by its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisioningState {
    /// Nobody has answered.
    Pending,
    /// An autoscaler works on it.
    Accepted,
    /// The nodes are there.
    Provisioned,
    /// They cannot be had.
    Failed,
    /// They were there, and are kept no more.
    BookingExpired,
    /// They were there, and were taken away.
    CapacityRevoked,
}

impl ProvisioningState {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Pending => "no autoscaler has answered yet",
            Self::Accepted => "an autoscaler works on it",
            Self::Provisioned => "the nodes are provisioned",
            Self::Failed => "the nodes cannot be had",
            Self::BookingExpired => "the nodes were provisioned, and are kept no more",
            Self::CapacityRevoked => "the nodes were provisioned, and were taken away",
        }
    }
}

/// A ProvisioningRequest to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisioningOrder {
    /// Namespace and name.
    pub key: PodKey,
    /// Which version of the kind is served.
    pub version: Arc<str>,
    /// The gang that it is for.
    pub gang: GangId,
    /// Whom it goes with.
    pub owner: OwnerRef,
    /// `spec.provisioningClassName`.
    pub class: Arc<str>,
    /// `spec.parameters`.
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
    /// One member of each role, whose template stands for all of the role, and how many these are.
    pub sets: Vec<((PodKey, PodUid), u32)>,
}
