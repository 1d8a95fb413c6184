//! What a scheduler talks to: a cluster it can read and write, and one extender entry that filters, scores and binds.

use thiserror::Error;

use super::{Cluster, SimPod, Story};
use crate::model::{NodeName, PodUid};

/// A cluster with an extender. A run through [`super::Direct`] is a function of its input; a run through a real
/// server is the same loop over the wire.
pub trait World {
    /// Reads the cluster.
    fn look<R>(&self, read: impl FnOnce(&Cluster) -> R) -> R;

    /// Changes the cluster.
    fn change<R>(&mut self, write: impl FnOnce(&mut Cluster) -> R) -> R;

    /// The filter verb, with these node names.
    ///
    /// # Errors
    /// The extender cannot be reached, or says that it cannot answer.
    fn filter(&mut self, pod: &SimPod, names: &[NodeName]) -> Result<FilterReply, CallError>;

    /// The prioritize verb: one score a name, in the order of the names.
    ///
    /// # Errors
    /// As [`World::filter`]; kube-scheduler goes on without the scores then.
    fn prioritize(&mut self, pod: &SimPod, names: &[NodeName]) -> Result<Vec<i64>, CallError>;

    /// The bind verb: when it returns, the extender has written the Binding.
    ///
    /// # Errors
    /// As [`World::filter`], or the Binding was refused.
    fn bind(&mut self, pod: &SimPod, node: &NodeName) -> Result<(), CallError>;

    /// The extender's full story of why it last refused this pod, where it tells one.
    fn refusal(&mut self, pod: &SimPod) -> Option<Story>;

    /// What the extender wrote into the condition of a gated pod.
    fn condition(&self, pod: &SimPod) -> Option<String>;

    /// Pods that the extender touched awake since the last call.
    fn touched(&mut self) -> Vec<PodUid>;
}

/// The answer to filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterReply {
    /// Places of the nodes that pass, in the names that were sent, ascending.
    pub nodes: Vec<u32>,
    /// Nodes that do not, where the extender says why.
    pub refused: Vec<RefusedNode>,
}

/// A node that the extender refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedNode {
    /// Its place in the names that were sent.
    pub place: u32,
    /// Why.
    pub text: String,
    /// FailedNodes rather than FailedAndUnresolvableNodes.
    pub curable: bool,
}

/// A call that did not come back with an answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct CallError(pub String);

/// How many calls a run made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// The filter verb.
    pub filter: u32,
    /// The prioritize verb.
    pub prioritize: u32,
    /// The bind verb.
    pub bind: u32,
}
