//! Failures, in the words of whoever saw them: an owner that could not create a pod, a node that could not run one.

use std::sync::Arc;

use super::{NodeName, OwnerRef, PodKey, PodUid, Time};

/// The newest word of one owner on a pod that it could not create: an Event with reason FailedCreate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationFailure {
    /// Whose pods they would be.
    pub owner: OwnerRef,
    /// UIDs of the owner's owners, as far as they are known.
    pub above: Vec<Arc<str>>,
    /// Why, in the words of whoever refused it.
    pub message: Arc<str>,
    /// When it failed last.
    pub at: Time,
}

/// A pod of ours that its node did not run, for a reason that lies in the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFailure {
    /// Which pod: it counts once.
    pub uid: PodUid,
    /// Its name, for people.
    pub pod: PodKey,
    /// Where it was to run.
    pub node: NodeName,
    /// `status.reason`.
    pub why: Arc<str>,
    /// When.
    pub at: Time,
}
