//! That an owner could not create a pod, in its own words.

use std::sync::Arc;

use super::{OwnerRef, Time};

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
