//! What happens when: events by time, and of one moment in the order in which they were entered.

use std::collections::BTreeMap;

use super::flow::Caller;
use super::replica::Called;
use super::store::Kind;
use crate::engine::Effect;
use crate::model::{NodeName, Pod, PodKey, PodUid};

/// Milliseconds since the run began.
pub(super) type Ms = u64;

/// Who follows the API server's watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watcher {
    Replica(usize),
    Scheduler(usize),
}

/// Something that happens. `life` is the life of the process that it happens to: what was meant for an earlier one is lost.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// News arrives, one at a time and in order within its kind.
    Watch { to: Watcher, kind: Kind, life: u64 },
    /// A list of one kind arrives, as it was when it was read.
    List { to: Watcher, kind: Kind, life: u64 },
    /// kube-scheduler takes the next pod.
    Cycle { scheduler: usize, life: u64 },
    /// kube-scheduler's flush of pods that waited for too long.
    Flush { scheduler: usize, life: u64 },
    /// kube-scheduler renews its lease, takes it, or finds that another one did.
    Lease { scheduler: usize, life: u64 },
    /// kube-scheduler asks for a Binding, after its own plugins are done.
    Bind { scheduler: usize, life: u64, uid: PodUid },
    /// That question reaches Gangplank.
    Asked { replica: usize, caller: Caller, uid: PodUid, key: PodKey, node: NodeName },
    /// The answer to that, or none in time.
    Bound { scheduler: usize, life: u64, uid: PodUid, call: u64, error: Option<&'static str> },
    /// kube-scheduler's write of the pod's condition.
    Condition { uid: PodUid, reason: u64, unschedulable: bool },
    /// Gangplank's own second.
    Tick { replica: usize, life: u64 },
    /// Gangplank looks who leads.
    Voice { replica: usize, life: u64 },
    /// Gangplank reads everything afresh.
    Relist { replica: usize, life: u64 },
    /// The relist is laid beside the book.
    Compare { replica: usize, life: u64 },
    /// A bind flow goes on by itself.
    Flow { replica: usize, life: u64, flow: u64 },
    /// A call of a bind flow came back, or did not in time.
    Called { replica: usize, life: u64, flow: u64, call: u64, result: Called },
    /// A call reaches the API server.
    Arrives { call: u64 },
    /// An effect is carried out.
    Effect { replica: usize, life: u64, effect: Effect },
    /// A process starts.
    StartReplica { replica: usize },
    /// A process starts.
    StartScheduler { scheduler: usize },
    /// A user creates a Job of the plan.
    NewJob { index: usize },
    /// The Job controller looks at a Job.
    Job { key: PodKey },
    /// A pod without a controller is created.
    Create { pod: Box<Pod> },
    /// Kubelet starts a pod.
    Start { uid: PodUid },
    /// Gangplank makes plans, between questions.
    Plan { replica: usize, life: u64 },
    /// The work of a gang is done, if its members have run together since.
    GangEnd { key: PodKey, run: u64 },
    /// A pod's work is done.
    End { uid: PodUid },
    /// Kubelet has ended a pod that is being deleted, or nobody is there who could.
    Gone { uid: PodUid },
    /// The agent of a node writes what kubelet gave to whom.
    Report { node: NodeName },
    /// The disruption controller counts.
    Budgets,
    /// A disturbance of the plan.
    Disturb { index: usize },
    /// A disturbance is over.
    Mend { index: usize },
    /// No more faults from here on.
    Calm,
}

/// Events to come.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    events: BTreeMap<(Ms, u64), Event>,
    entered: u64,
}

impl Timeline {
    pub(super) fn enter(&mut self, at: Ms, event: Event) {
        self.entered += 1;
        self.events.insert((at, self.entered), event);
    }

    pub(super) fn next(&mut self) -> Option<(Ms, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}
