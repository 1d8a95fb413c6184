//! A pod as placement sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Constraints, GangRef, Grant, NodeName, OwnerRef, Pattern, PlanRecord, PodKey, PodUid, ResourceName, Time, TopologyWishes};

/// A pod, read from the API or from a scheduler's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Identity.
    pub uid: PodUid,
    /// Name for people and API calls.
    pub key: PodKey,
    /// `metadata.labels`, by which disruption budgets select it.
    pub labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    /// `spec.nodeName`, once bound.
    pub node: Option<NodeName>,
    /// `status.nominatedNodeName`.
    pub nominated: Option<NodeName>,
    /// `status.phase`.
    pub phase: PodPhase,
    /// `metadata.deletionTimestamp` is set. Devices stay held until the pod is gone.
    pub deleting: bool,
    /// Condition PodScheduled is False for reason Unschedulable: kube-scheduler's last attempt came to nothing.
    pub unschedulable: bool,
    /// `spec.schedulingGates` is not empty.
    pub gated: bool,
    /// Of these gates one is not ours: somebody else decides when the pod may be planned.
    pub gated_by_others: bool,
    /// `metadata.creationTimestamp`, to the second.
    pub created_at: Time,
    /// When it began to run: `status.startTime`, else its creation.
    pub started_at: Time,
    /// `gangplank.dev/last-checkpoint`: when its work was last saved, as its tenant says.
    pub last_checkpoint: Option<Time>,
    /// The owner that controls it.
    pub controller: Option<OwnerRef>,
    /// `spec.schedulerName`.
    pub scheduler: Arc<str>,
    /// `spec.priority`.
    pub priority: i32,
    /// `spec.priorityClassName`, where it has one.
    pub priority_class: Option<Arc<str>>,
    /// `spec.preemptionPolicy` is Never.
    pub never_preempts: bool,
    /// `gangplank.dev/profile`, as written by the tenant.
    pub profile: Option<Arc<str>>,
    /// `gangplank.dev/expected-duration`: how long it will run, as its tenant says.
    pub expected: Option<Duration>,
    /// What it asks of managed resources.
    pub request: DeviceRequest,
    /// CPU request in thousandths of a core, as kube-scheduler sums it.
    pub cpu_milli: u64,
    /// Memory request in bytes, as kube-scheduler sums it.
    pub memory_bytes: u64,
    /// What of its constraints kube-scheduler checks and a planner must respect.
    pub constraints: Constraints,
    /// The PersistentVolumeClaims of its volumes, by name.
    pub claims: Vec<Arc<str>>,
    /// Preferred affinity or soft spread: in-tree scores matter to this pod (`decide: auto`).
    pub has_preferences: bool,
    /// The group that it starts with.
    pub gang: Option<GangRef>,
    /// How near to each other its group's members want to be.
    pub topology: TopologyWishes,
    /// What our annotation says, if it is there and can be read.
    pub recorded: Option<Grant>,
    /// What it was promised, if that is there and can be read.
    pub planned: Option<PlanRecord>,
}

impl Pod {
    /// A pod that waits, asks for nothing and wishes for nothing: what made-up clusters fill in from.
    pub fn pending(uid: PodUid, key: PodKey) -> Self {
        Self {
            uid,
            key,
            labels: Arc::default(),
            node: None,
            nominated: None,
            phase: PodPhase::Pending,
            deleting: false,
            unschedulable: false,
            gated: false,
            gated_by_others: false,
            created_at: Time::default(),
            started_at: Time::default(),
            last_checkpoint: None,
            controller: None,
            scheduler: Arc::from("gangplank"),
            priority: 0,
            priority_class: None,
            never_preempts: false,
            profile: None,
            expected: None,
            request: DeviceRequest::default(),
            cpu_milli: 0,
            memory_bytes: 0,
            constraints: Constraints::default(),
            claims: Vec::new(),
            has_preferences: false,
            gang: None,
            topology: TopologyWishes::default(),
            recorded: None,
            planned: None,
        }
    }

    /// Whether the pod occupies what it was given: bound, and not finished.
    pub fn occupies(&self) -> bool {
        self.node.is_some() && !self.phase.is_finished()
    }
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Accepted, not all containers started.
    #[default]
    Pending,
    /// At least one container runs.
    Running,
    /// Ended well; holds nothing.
    Succeeded,
    /// Ended badly; holds nothing.
    Failed,
    /// The node does not answer; still holds.
    Unknown,
}

impl PodPhase {
    /// Ended, for good.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// What a pod asks of managed resources: empty for a pod that is none of our business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// Containers that ask for something, in the pod's order: init containers first.
    pub containers: Vec<ContainerRequest>,
    /// `gangplank.dev/device-pattern`: how its devices talk to each other.
    pub pattern: Pattern,
    /// Why no node can ever grant it (an amount out of bounds, a fraction of what cannot be shared): what was
    /// read of the rest stays in `containers`. Answered with [`super::Reason::InvalidRequest`].
    pub impossible: Option<Arc<str>>,
}

/// What one container asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRequest {
    /// The container's name.
    pub container: Arc<str>,
    /// The container's place in its list (`spec.containers` or `spec.initContainers`).
    pub index: u32,
    /// When it runs.
    pub role: ContainerRole,
    /// Whole devices by resource, each amount above zero, ordered by name.
    pub whole: Vec<(ResourceName, u32)>,
    /// A share of one device.
    pub share: Option<ShareRequest>,
}

impl ContainerRequest {
    /// Whole devices of `resource` that it asks for.
    pub fn whole_of(&self, resource: &ResourceName) -> u32 {
        self.whole.iter().find(|(name, _)| name == resource).map_or(0, |(_, count)| *count)
    }
}

/// When a container runs, relative to its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerRole {
    /// Before the main ones, alone: lends its devices to them afterwards.
    Init,
    /// An init container with `restartPolicy: Always`: runs on beside the main ones.
    Sidecar,
    /// `spec.containers`.
    Main,
}

/// A share of one device, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareRequest {
    /// `gangplank.dev/gpu-milli`; 1..=1000.
    pub milli: u32,
    /// `gangplank.dev/gpu-memory-mib`.
    pub memory_mib: Option<u64>,
}

impl DeviceRequest {
    /// Whether it asks for nothing that we manage.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.impossible.is_none()
    }

    /// Whether it asks for a share of a device.
    pub fn has_shares(&self) -> bool {
        self.containers.iter().any(|container| container.share.is_some())
    }

    /// Whether it asks for whole devices.
    pub fn has_whole(&self) -> bool {
        self.containers.iter().any(|container| !container.whole.is_empty())
    }

    /// Whole devices of `resource` that the pod needs at once, counted as kube-scheduler counts: the larger
    /// of what runs together and what any init container needs beside the sidecars started before it.
    pub fn whole_of(&self, resource: &ResourceName) -> u32 {
        self.peak(|container| container.whole_of(resource))
    }

    /// Thousandths of devices that the pod's shares need at once, summed as [`Self::whole_of`] sums.
    pub fn share_milli(&self) -> u32 {
        self.peak(|container| container.share.map_or(0, |share| share.milli))
    }

    /// How much it takes in all, in thousandths of devices whatever they are: larger requests are harder to place.
    pub fn units(&self) -> u64 {
        let whole = self.resources().into_iter().map(|name| u64::from(self.whole_of(name)) * 1000).sum::<u64>();
        whole + u64::from(self.share_milli())
    }

    /// The resources of which it asks whole devices, in order, each once.
    pub fn resources(&self) -> Vec<&ResourceName> {
        let mut names: Vec<&ResourceName> =
            self.containers.iter().flat_map(|container| container.whole.iter().map(|(name, _)| name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn peak(&self, asked: impl Fn(&ContainerRequest) -> u32) -> u32 {
        let (mut together, mut init_peak) = (0_u32, 0_u32);
        for container in &self.containers {
            match container.role {
                ContainerRole::Init => init_peak = init_peak.max(together.saturating_add(asked(container))),
                ContainerRole::Sidecar | ContainerRole::Main => together = together.saturating_add(asked(container)),
            }
        }
        together.max(init_peak)
    }
}
