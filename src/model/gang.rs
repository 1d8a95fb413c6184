//! Of which gang a pod is a member, what the gang needs to start, and how near to each other its members want to be.

use std::fmt;
use std::sync::Arc;

use super::{Grant, NodeName, PodKey};

/// Which gang. The same name elsewhere, of another kind, or created anew is another gang.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GangId {
    /// By whose convention its members say so.
    pub kind: GangKind,
    /// Namespace and name: a gang never reaches across namespaces.
    pub key: PodKey,
    /// UID of the object that stands for it. Empty where members know it by name alone.
    pub uid: Arc<str>,
}

impl GangId {
    /// The gang of one that a pod without company is.
    pub fn alone(key: PodKey, uid: Arc<str>) -> Self {
        Self { kind: GangKind::Alone, key, uid }
    }
}

impl fmt::Display for GangId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)
    }
}

/// Conventions, in the order in which they are read: of several on one pod the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GangKind {
    /// `spec.schedulingGroup.podGroupName` and scheduling.k8s.io PodGroup.
    PodGroup,
    /// Label `scheduling.x-k8s.io/pod-group` and scheduling.x-k8s.io PodGroup.
    SchedulerPlugins,
    /// Annotation `scheduling.k8s.io/group-name` and scheduling.volcano.sh PodGroup.
    Volcano,
    /// Label or annotation `gang.scheduling.koordinator.sh/name`.
    Koordinator,
    /// Label `kueue.x-k8s.io/pod-group-name`.
    Kueue,
    /// Label `jobset.sigs.k8s.io/jobset-name` and its JobSet.
    JobSet,
    /// Label `leaderworkerset.sigs.k8s.io/name` and its group index.
    LeaderWorkerSet,
    /// Label `training.kubeflow.org/job-name` and its job object.
    Kubeflow,
    /// Label `ray.io/cluster` and its RayCluster.
    KubeRay,
    /// Annotation `gangplank.dev/gang`.
    Annotation,
    /// The controller's own size: a Job with parallelism = completions > 1.
    Owner,
    /// None: a gang of one.
    Alone,
}

impl GangKind {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::PodGroup,
        Self::SchedulerPlugins,
        Self::Volcano,
        Self::Koordinator,
        Self::Kueue,
        Self::JobSet,
        Self::LeaderWorkerSet,
        Self::Kubeflow,
        Self::KubeRay,
        Self::Annotation,
        Self::Owner,
        Self::Alone,
    ];

    /// A short, stable name for metrics and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::PodGroup => "pod-group",
            Self::SchedulerPlugins => "scheduler-plugins",
            Self::Volcano => "volcano",
            Self::Koordinator => "koordinator",
            Self::Kueue => "kueue",
            Self::JobSet => "job-set",
            Self::LeaderWorkerSet => "leader-worker-set",
            Self::Kubeflow => "kubeflow",
            Self::KubeRay => "kube-ray",
            Self::Annotation => "annotation",
            Self::Owner => "owner",
            Self::Alone => "alone",
        }
    }
}

/// A pod's membership, as far as the pod itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GangRef {
    /// Which gang.
    pub id: GangId,
    /// How many members there will be, where the pod says so; else the gang's object must be seen.
    pub size: Option<u32>,
    /// How few of them can start, where the pod says so.
    pub min: Option<u32>,
    /// Its role: members of one role are alike. Empty where there is one role.
    pub role: Arc<str>,
    /// Which of its role this pod is, where it says so: 0 is the first.
    pub rank: Option<u32>,
}

impl GangRef {
    /// Size and minimum, where the pod says how many there will be.
    pub fn said(&self) -> Option<(u32, u32)> {
        self.size.map(|size| (size, self.min.unwrap_or(size)))
    }
}

/// What the object that stands for a gang says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GangSpec {
    /// Which gang; with the object's UID.
    pub id: GangId,
    /// How many members there will be; 1 for an object whose pods need not start together.
    pub size: u32,
    /// How few of them can start; 1..=`size`.
    pub min: u32,
    /// Roles and how many members each has, in the order of ranks; empty where the object does not tell.
    pub roles: Vec<(Arc<str>, u32)>,
    /// How near to each other they want to be; members that wish for something themselves are heard instead.
    pub topology: TopologyWishes,
    /// The top-most owner that can be suspended: how members that run are taken back without a failed pod.
    pub suspend: Option<OwnerRef>,
    /// We suspended it, and nobody has resumed it since.
    pub suspended_by_us: bool,
}

/// An object that controls pods, by the words of the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnerRef {
    /// `apiVersion`.
    pub api_version: Arc<str>,
    /// `kind`.
    pub kind: Arc<str>,
    /// Namespace and name.
    pub key: PodKey,
    /// Identity.
    pub uid: Arc<str>,
}

/// A promise to one pod, as it is written on it when it is released: the plan's only durable record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRecord {
    /// Which plan; a later one counts for more.
    pub epoch: u64,
    /// Where it goes, and what it gets there.
    pub grant: Grant,
    /// Which of its gang it is, from 0; absent for a gang of one.
    pub rank: Option<u32>,
}

impl PlanRecord {
    /// Where it goes.
    pub fn node(&self) -> &NodeName {
        &self.grant.node
    }
}

/// How near to each other pods of a group want to be. Several wishes must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologyWishes {
    /// Rather wait than be further apart.
    pub required: Vec<Wish>,
    /// Rather run than wait.
    pub preferred: Vec<Wish>,
    /// What was written and cannot be read: nothing is placed on a guess.
    pub unreadable: Option<Arc<str>>,
}

/// One wish: in one domain of a level, or in parts of which each is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The name of a level, or a label key that it reads.
    pub level: Arc<str>,
    /// What of the group shares a domain.
    pub parts: Parts,
}

/// What of a group shares a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// All of it.
    Whole,
    /// Each so many members, counted from rank 0.
    Slices(u32),
    /// As few equal parts as there can be, each in a domain of its own.
    Even,
}

impl TopologyWishes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty() && self.unreadable.is_none()
    }
}
