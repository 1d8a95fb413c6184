//! Everything that the engine can be told or asked: a closed set, so that any run can be journalled and replayed.

use std::sync::Arc;

use crate::model::{
    Budget, CreationFailure, GangId, GangSpec, Node, NodeFailure, NodeName, Pod, PodKey, PodUid, PriorityClass, ProvisioningRequest, Quota,
    Volume,
};
use crate::policy::Profiles;
use crate::topology::fabric::HyperNode;

/// One input. Queries borrow from the request that carried them.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A Pod was listed, created or changed.
    PodApplied(Pod),
    /// A Pod is gone.
    PodDeleted(PodUid),
    /// A Node or its AcceleratorNode was listed, created or changed.
    NodeApplied(Node),
    /// A Node is gone.
    NodeDeleted(NodeName),
    /// A ResourceQuota with lines on managed resources was listed, created or changed.
    QuotaApplied(Quota),
    /// A ResourceQuota is gone, or has no line on managed resources any more.
    QuotaDeleted {
        /// `metadata.namespace`.
        namespace: Arc<str>,
        /// `metadata.name`.
        name: Arc<str>,
    },
    /// A PodDisruptionBudget was listed, created or changed.
    BudgetApplied(Budget),
    /// A PodDisruptionBudget is gone.
    BudgetDeleted {
        /// `metadata.namespace`.
        namespace: Arc<str>,
        /// `metadata.name`.
        name: Arc<str>,
    },
    /// A PriorityClass was listed, created or changed.
    PriorityClassApplied(PriorityClass),
    /// A PriorityClass is gone.
    PriorityClassDeleted(Arc<str>),
    /// A PersistentVolume was listed, created or changed.
    VolumeApplied(Volume),
    /// A PersistentVolume is gone.
    VolumeDeleted(Arc<str>),
    /// The object that stands for a gang was listed, created or changed.
    GangApplied(GangSpec),
    /// It is gone.
    GangDeleted(GangId),
    /// An owner could not create a pod.
    CreationFailed(CreationFailure),
    /// A node did not run a pod of ours.
    NodeFailed(NodeFailure),
    /// The version in which the API server serves ProvisioningRequests; none if it does not.
    ProvisioningServed(Option<Arc<str>>),
    /// A ProvisioningRequest of ours was listed, created or changed.
    ProvisioningApplied(ProvisioningRequest),
    /// It is gone.
    ProvisioningDeleted(PodKey),
    /// The pods of a namespace that ended, as [`super::Effect::ListEnded`] asked for them.
    EndedListed {
        /// `metadata.namespace`.
        namespace: Arc<str>,
        /// Those that ask for devices.
        pods: Vec<Pod>,
    },
    /// A Topology of Kueue was listed, created or changed.
    TopologyApplied {
        /// `metadata.name`.
        name: Arc<str>,
        /// `spec.levels[].nodeLabel`, widest first.
        label_keys: Vec<Arc<str>>,
    },
    /// A Topology is gone.
    TopologyDeleted(Arc<str>),
    /// A HyperNode of Volcano was listed, created or changed.
    HyperNodeApplied(HyperNode),
    /// A HyperNode is gone.
    HyperNodeDeleted(Arc<str>),
    /// Other profiles are in force from here on. They manage what those before them managed.
    ProfilesReplaced(Profiles),
    /// Every initial list has been applied: from here on questions are answered.
    Synced,
    /// The watches are broken or this replica lost its voice: answer no more questions until [`Input::Synced`].
    Desynced,
    /// The whole truth, read afresh: what differs is counted, reported and healed.
    Relisted {
        /// Every Pod of the cluster.
        pods: Vec<Pod>,
        /// Every Node of the cluster.
        nodes: Vec<Node>,
    },
    /// Time passed: expire what nobody confirmed.
    Tick,
    /// Nobody waits for an answer: work ahead a little. An input like any other, so that a replay works ahead at the
    /// same moments; see [`super::Engine::wants_to_prepare`].
    Prepare,
    /// Gangs wait for a plan: make the next one. An input of its own, so that no question waits for more than one; see
    /// [`super::Engine::wants_to_plan`].
    Plan,
    /// The filter verb.
    Filter(FilterQuery<'a>),
    /// The prioritize verb; same shape as filter.
    Prioritize(FilterQuery<'a>),
    /// The preempt verb.
    Preempt(PreemptQuery<'a>),
    /// The bind verb: answered with an order to write, carried out by the shell, closed by [`Input::BindOutcome`].
    Bind(BindQuery),
    /// What became of a [`super::BindOrder`].
    BindOutcome {
        /// The pod of the order.
        uid: PodUid,
        /// The node of the order.
        node: NodeName,
        /// What happened.
        outcome: BindOutcome,
    },
}

/// Which of these nodes can take this pod?
#[derive(Clone, Copy, Debug)]
pub struct FilterQuery<'a> {
    /// The pod, as kube-scheduler's cache has it.
    pub pod: &'a Pod,
    /// The names of the nodes that passed kube-scheduler's own filters.
    pub names: &'a [&'a str],
}

/// May these pods be evicted for this one?
#[derive(Clone, Copy, Debug)]
pub struct PreemptQuery<'a> {
    /// The preemptor.
    pub pod: &'a Pod,
    /// kube-scheduler's proposals, at most one a node.
    pub candidates: &'a [PreemptCandidate<'a>],
}

/// A proposal: on this node, evict these.
#[derive(Clone, Debug)]
pub struct PreemptCandidate<'a> {
    /// The node.
    pub node: &'a str,
    /// Its victims, in the order kube-scheduler gave.
    pub victims: Vec<PodUid>,
    /// How many evictions would violate a PodDisruptionBudget, by kube-scheduler's count.
    pub pdb_violations: i64,
}

/// Bind this pod to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindQuery {
    /// The pod, re-read from the API by the shell after kube-scheduler named it: never from the request itself.
    pub pod: Pod,
    /// The node that kube-scheduler chose.
    pub node: NodeName,
}

/// What became of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// The API server wrote it (or had written it before).
    Bound,
    /// The API server refused it: nothing was written.
    Refused,
    /// No answer, and reading the pod back did not decide: the hold stays until the watch or its deadline decides.
    Unknown,
}

impl Input<'_> {
    /// A short, stable name for metrics, logs and the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PodApplied(_) => "pod-applied",
            Self::PodDeleted(_) => "pod-deleted",
            Self::NodeApplied(_) => "node-applied",
            Self::NodeDeleted(_) => "node-deleted",
            Self::QuotaApplied(_) => "quota-applied",
            Self::QuotaDeleted { .. } => "quota-deleted",
            Self::BudgetApplied(_) => "budget-applied",
            Self::BudgetDeleted { .. } => "budget-deleted",
            Self::PriorityClassApplied(_) => "priority-class-applied",
            Self::PriorityClassDeleted(_) => "priority-class-deleted",
            Self::VolumeApplied(_) => "volume-applied",
            Self::VolumeDeleted(_) => "volume-deleted",
            Self::GangApplied(_) => "gang-applied",
            Self::GangDeleted(_) => "gang-deleted",
            Self::NodeFailed(_) => "node-failed",
            Self::CreationFailed(_) => "creation-failed",
            Self::ProvisioningServed(_) => "provisioning-served",
            Self::ProvisioningApplied(_) => "provisioning-applied",
            Self::ProvisioningDeleted(_) => "provisioning-deleted",
            Self::EndedListed { .. } => "ended-listed",
            Self::TopologyApplied { .. } => "topology-applied",
            Self::TopologyDeleted(_) => "topology-deleted",
            Self::HyperNodeApplied(_) => "hyper-node-applied",
            Self::HyperNodeDeleted(_) => "hyper-node-deleted",
            Self::ProfilesReplaced(_) => "profiles-replaced",
            Self::Synced => "synced",
            Self::Desynced => "desynced",
            Self::Relisted { .. } => "relisted",
            Self::Tick => "tick",
            Self::Prepare => "prepare",
            Self::Plan => "plan",
            Self::Filter(_) => "filter",
            Self::Prioritize(_) => "prioritize",
            Self::Preempt(_) => "preempt",
            Self::Bind(_) => "bind",
            Self::BindOutcome { .. } => "bind-outcome",
        }
    }
}

/// Names a pod for effects: the key to call with, the UID to be sure of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Namespace and name.
    pub key: PodKey,
    /// Identity, sent as a precondition.
    pub uid: PodUid,
}
