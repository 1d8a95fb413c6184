//! What the engine answers, what it wants done, and why.

use std::sync::Arc;

use super::PodRef;
use crate::model::{
    ContainerRole, Curable, Grant, NodeName, OwnerRef, PlanRecord, PodKey, PodUid, ProvisioningOrder, Reason, Refusal, Time,
};

/// The outcome of one step.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The answer to a question; [`Answer::None`] for news.
    pub answer: Answer,
    /// What the shell shall do now. Losing one loses time, never truth.
    pub effects: Vec<Effect>,
    /// Why, for decisions on a pod; the engine keeps it too, for explain.
    pub trace: Option<Arc<Trace>>,
}

/// An answer, one variant a question.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    /// Nothing was asked.
    #[default]
    None,
    /// Asked before the books are complete: the shell answers 503, and nobody is guessed at.
    NotReady,
    /// To filter.
    Filter(FilterAnswer),
    /// To prioritize: one score a name, in the order of the names.
    Prioritize(Vec<Score>),
    /// To preempt: the proposals that may go ahead; empty is a veto.
    Preempt(Vec<PreemptChoice>),
    /// To bind.
    Bind(BindAnswer),
}

/// Which of the offered nodes pass. What is in neither list was passed over for a better node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterAnswer {
    /// Places in [`super::FilterQuery::names`], ascending.
    pub nodes: Vec<u32>,
    /// Why the others do not.
    pub refused: Refused,
}

/// Refused nodes. Only told when no node passes: kube-scheduler shows them to nobody otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing to tell.
    None,
    /// Every offered node, for one reason that lies in the pod.
    All(Reason, Curable),
    /// One entry a name, in the order of the names.
    Each(Vec<(Reason, Curable)>),
}

/// A node's score; higher is better, within 0..=score_max of the profile.
pub type Score = i64;

/// A proposal that may go ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreemptChoice {
    /// Place in [`super::PreemptQuery::candidates`].
    pub candidate: u32,
    /// The victims, by descending priority as kube-scheduler wants them.
    pub victims: Vec<PodUid>,
    /// How many evictions would violate a PodDisruptionBudget.
    pub pdb_violations: i64,
}

/// The answer to bind.
#[derive(Clone, Debug)]
pub enum BindAnswer {
    /// Write this Binding, then report with [`super::Input::BindOutcome`].
    Write(BindOrder),
    /// Already bound there: say yes again.
    AlreadyBound,
    /// Not there: kube-scheduler retries.
    Refused(Refusal),
}

/// A Binding to write: node, devices and environment values in one API call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindOrder {
    /// Which pod.
    pub pod: PodRef,
    /// What it was given, and where. No containers for a pod that asked for nothing.
    pub grant: Grant,
    /// Values that the pod's env entries read (`gangplank.dev/env-<container index>-<name>`).
    pub env: Vec<EnvValue>,
}

/// One environment value of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvValue {
    /// Which list the container is in.
    pub role: ContainerRole,
    /// Its place in that list.
    pub index: u32,
    /// The variable.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// Something the shell shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Change the pod's own annotation, so that kube-scheduler, which did not see what we saw, tries it again.
    Touch(PodRef),
    /// Tell people.
    Event(Event),
    /// Tell those who look after a node.
    NodeEvent(NodeEvent),
    /// Write `status.nominatedNodeName`, or clear it: kube-scheduler then asks about that node alone, and keeps its CPU and
    /// memory for the pod.
    Nominate {
        /// Which pod.
        pod: PodRef,
        /// Where it is to go.
        node: Option<NodeName>,
    },
    /// Take our scheduling gate off the pod, if it is there, and write the plan on it in the same write.
    Release {
        /// Which pod.
        pod: PodRef,
        /// What it is promised; none for a pod that filter decides.
        plan: Option<PlanRecord>,
    },
    /// Say in a gated pod's condition PodScheduled why it waits: kube-scheduler, which does not look at it yet, cannot.
    Condition {
        /// Which pod.
        pod: PodRef,
        /// Why; its text is constant.
        reason: Reason,
    },
    /// Say which pods of a namespace ended, with [`super::Input::EndedListed`]: the watch leaves those out.
    ListEnded {
        /// `metadata.namespace`.
        namespace: Arc<str>,
    },
    /// Evict the pod, with its UID as a precondition.
    Evict {
        /// Which pod.
        pod: PodRef,
        /// Why, for people.
        why: &'static str,
        /// At once, whatever may still run of it: for a pod that is going already, on a node where nothing runs any more.
        force: bool,
    },
    /// Write on a pod when it will be evicted, or take that back.
    Notice {
        /// Which pod.
        pod: PodRef,
        /// When; none: it will not be.
        at: Option<Time>,
    },
    /// Write `spec.suspend` of an owner, and beside it that it was us.
    Suspend {
        /// Which owner.
        owner: OwnerRef,
        /// Suspend it, or let it go on.
        suspend: bool,
    },
    /// Ask an autoscaler for the nodes that a gang lacks.
    Provision(Box<ProvisioningOrder>),
    /// Delete such a request, with its UID as a precondition, and its pod templates.
    Unprovision {
        /// Namespace and name.
        request: PodKey,
        /// Its UID.
        uid: Arc<str>,
        /// Which version of the kind is served.
        version: Arc<str>,
        /// How many pod templates it has.
        sets: usize,
    },
    /// Say on a pod which request it is that its nodes come from.
    Consume {
        /// Which pod.
        pod: PodRef,
        /// The name of the request.
        request: Arc<str>,
        /// Its class.
        class: Arc<str>,
    },
}

impl Effect {
    /// A short, stable name for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Touch(_) => "touch",
            Self::Event(_) | Self::NodeEvent(_) => "event",
            Self::Nominate { .. } => "nominate",
            Self::Release { .. } => "release",
            Self::Condition { .. } => "condition",
            Self::ListEnded { .. } => "list-ended",
            Self::Evict { .. } => "evict",
            Self::Notice { .. } => "notice",
            Self::Suspend { .. } => "suspend",
            Self::Provision(_) => "provision",
            Self::Unprovision { .. } => "unprovision",
            Self::Consume { .. } => "consume",
        }
    }
}

/// An events.k8s.io Event on a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// On which pod.
    pub pod: PodRef,
    /// CamelCase, for machines.
    pub reason: &'static str,
    /// For people; at most 1 KiB.
    pub note: String,
    /// Type Warning rather than Normal.
    pub warning: bool,
}

/// An events.k8s.io Event on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// On which node.
    pub node: NodeName,
    /// CamelCase, for machines.
    pub reason: &'static str,
    /// For people; at most 1 KiB.
    pub note: String,
    /// Type Warning rather than Normal.
    pub warning: bool,
}

/// Why a decision on a pod came out as it did: one line a step, rendered by explain, logs and the API alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// When.
    pub at: Time,
    /// `filter`, `bind`, `preempt`, ...
    pub verb: &'static str,
    /// How many nodes were offered.
    pub offered: u32,
    /// How many of them passed.
    pub passed: u32,
    /// Refused nodes by reason, most frequent first.
    pub refused: Vec<(Reason, u32)>,
    /// The chosen node.
    pub chosen: Option<NodeName>,
    /// What it was given there.
    pub grant: Option<Grant>,
    /// What each policy said of the chosen node, and of the runners-up.
    pub lines: Vec<String>,
    /// The full story of a refusal.
    pub refusal: Option<Refusal>,
}
