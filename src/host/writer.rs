//! What the host needs written, as a trait: the cluster side writes to the API server, the demo and tests to memory.
//! It says what an error means for the question that matters: was it written, was it not, or does nobody know?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use thiserror::Error;

use crate::engine::{BindOrder, Effect};
use crate::model::PodKey;
use crate::wire::PodObject;

/// Reads and writes that leave the process.
pub trait Writer: fmt::Debug + Send + Sync {
    /// Reads a pod afresh: from the API server, never from a cache. `None`: there is no pod of this name.
    fn read_pod<'a>(&'a self, key: &'a PodKey) -> BoxFuture<'a, Result<Option<PodRead>, WriteError>>;

    /// Writes a Binding: node, devices and environment values at once, or nothing.
    fn bind<'a>(&'a self, write: &'a BindWrite) -> BoxFuture<'a, Result<(), WriteError>>;

    /// Reads the pods of a namespace that ended well: as many as a few pages hold. In memory none is kept.
    fn list_ended<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, Result<Vec<Arc<PodObject>>, WriteError>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    /// Carries out what the engine wants done. Each write is idempotent, and changes nothing of a pod with another UID.
    fn carry_out<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<(), WriteError>>;
}

/// A pod, as just read.
#[derive(Clone, Debug)]
pub struct PodRead {
    /// The object.
    pub object: Arc<PodObject>,
    /// `metadata.resourceVersion`: the precondition of whatever is decided from this read.
    pub resource_version: String,
}

/// A Binding to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindWrite {
    /// Pod, node, devices and environment values.
    pub order: BindOrder,
    /// The write changes nothing if the pod has changed since it was read.
    pub resource_version: String,
}

/// Why a read or write did not go through.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WriteError {
    /// A precondition does not hold: changed, bound, deleted or gated since. Nothing was written.
    #[error("conflict: {0}")]
    Conflict(String),
    /// No such object. Nothing was written.
    #[error("not found: {0}")]
    NotFound(String),
    /// Refused for good: permission, validation, admission. Nothing was written.
    #[error("refused ({code}): {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The API server's text.
        message: String,
    },
    /// Too much at once. Nothing was written; worth trying again.
    #[error("throttled: {message}")]
    Throttled {
        /// How long the server wants us to wait.
        after: Duration,
        /// The API server's text.
        message: String,
    },
    /// A 5xx, a broken connection or no answer in time: it may have been written.
    #[error("no clear answer: {0}")]
    Unclear(String),
}
