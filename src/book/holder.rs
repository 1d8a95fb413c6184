//! A holder: a pod and what it takes from its node.

use std::collections::BTreeMap;

use super::Load;
use crate::model::{Amount, ContainerRole, DeviceId, DeviceRequest, Grant, NodeName, PodKey, PodUid, ResourceName, SHARE_MILLI, Time};

/// A pod that takes devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Identity.
    pub uid: PodUid,
    /// For people, and for the namespace's sums.
    pub key: PodKey,
    /// `spec.priority`, for preemption.
    pub priority: i32,
    /// Where.
    pub node: NodeName,
    /// How firmly.
    pub state: HolderState,
    /// Per container, as it is or will be written to the pod; absent for a pod without our record.
    pub grant: Option<Grant>,
    /// What that comes to on the node.
    pub takes: Vec<Take>,
    /// What else it takes of the node.
    pub load: Load,
    /// When it last changed: a relist older than this says nothing about it.
    pub changed_at: Time,
}

/// How firmly something is held. Only [`HolderState::Bound`] survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderState {
    /// Chosen by a filter call; expires by itself.
    Held {
        /// When.
        until: Time,
    },
    /// Promised by a plan; ends with its gang's plan, which has a deadline.
    Planned,
    /// A Binding is being written, or was written and nobody knows; ends with a read-back or this deadline.
    Binding {
        /// When.
        until: Time,
        /// An earlier write may land yet: a refusal of the present one frees nothing.
        undecided: bool,
    },
    /// The API server has it.
    Bound,
}

impl HolderState {
    /// Whether a Binding is written, or on its way.
    pub fn is_committed(self) -> bool {
        matches!(self, Self::Binding { .. } | Self::Bound)
    }

    /// A short name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Planned => "planned",
            Self::Binding { .. } => "binding",
            Self::Bound => "bound",
        }
    }
}

/// One device, or a part of one, or an unknown one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Take {
    /// Of which pool; a share without a record says `gangplank.dev/gpu-milli` and takes from the node's sharable one.
    pub resource: ResourceName,
    /// Which device; absent for one that nobody named.
    pub device: Option<DeviceId>,
    /// How much of it.
    pub amount: Amount,
}

impl Take {
    /// Thousandths of a device.
    pub fn milli(&self) -> u32 {
        match self.amount {
            Amount::Whole => 1000,
            Amount::Share { milli, .. } => milli,
        }
    }
}

/// Unknown devices that one pod counts for, at most: more than any node has of all kinds. A tenant may write a pod with
/// `spec.nodeName` and millions of them, and each is an entry in the book.
const UNKNOWN_MAX: usize = 4096;

/// What a pod takes from its node: by its grant if that is what the request asks for, else so many unknown devices.
/// The second value says whether the grant was taken at its word.
pub fn takes(request: &DeviceRequest, grant: Option<&Grant>) -> (Vec<Take>, bool) {
    if let Some(grant) = grant
        && let Some(takes) = granted(request, grant)
    {
        return (takes, true);
    }
    let mut takes = Vec::new();
    for resource in request.resources() {
        let whole = Take { resource: resource.clone(), device: None, amount: Amount::Whole };
        let room = UNKNOWN_MAX.saturating_sub(takes.len());
        takes.extend(std::iter::repeat_n(whole, room.min(request.whole_of(resource) as usize)));
    }
    for share in request.containers.iter().filter_map(|container| container.share) {
        let amount = Amount::Share { milli: share.milli, memory_mib: share.memory_mib };
        takes.push(Take { resource: ResourceName::from(SHARE_MILLI), device: None, amount });
    }
    (takes, false)
}

/// The takes of a grant that gives each container exactly what it asks for; none if it does not.
fn granted(request: &DeviceRequest, grant: &Grant) -> Option<Vec<Take>> {
    if request.containers.len() != grant.containers.len() {
        return None;
    }
    let mut whole: BTreeMap<(&ResourceName, Option<&DeviceId>), u32> = BTreeMap::new();
    let mut shares: BTreeMap<(&ResourceName, &DeviceId), Peak> = BTreeMap::new();
    for (asked, given) in request.containers.iter().zip(&grant.containers) {
        if asked.container != given.container {
            return None;
        }
        let mut counts: BTreeMap<&ResourceName, u32> = BTreeMap::new();
        let mut share_given = None;
        for share in &given.devices {
            match (share.amount, &share.device) {
                (Amount::Whole, device) => {
                    *counts.entry(&share.resource).or_default() += 1;
                    whole.insert((&share.resource, device.as_ref()), 1);
                }
                (Amount::Share { milli, memory_mib }, Some(device)) if share_given.is_none() => {
                    share_given = Some((milli, memory_mib));
                    shares.entry((&share.resource, device)).or_default().add(asked.role, milli, memory_mib);
                }
                (Amount::Share { .. }, _) => return None,
            }
        }
        let asked_share = asked.share.map(|share| (share.milli, share.memory_mib));
        if asked_share != share_given || !counts.into_iter().eq(asked.whole.iter().map(|(name, count)| (name, *count))) {
            return None;
        }
    }
    let mut takes: Vec<Take> = Vec::new();
    for resource in request.resources() {
        let named = whole.keys().filter(|(name, device)| *name == resource && device.is_some()).count();
        let needed = request.whole_of(resource) as usize;
        if named > needed || (named < needed && !whole.contains_key(&(resource, None))) {
            return None;
        }
        for (name, device) in whole.keys().filter(|(name, device)| *name == resource && device.is_some()) {
            takes.push(Take { resource: (*name).clone(), device: device.cloned(), amount: Amount::Whole });
        }
        let unnamed = Take { resource: resource.clone(), device: None, amount: Amount::Whole };
        takes.extend(std::iter::repeat_n(unnamed, needed - named));
    }
    for ((resource, device), peak) in shares {
        takes.extend(peak.amounts().map(|amount| Take { resource: resource.clone(), device: Some(device.clone()), amount }));
    }
    Some(takes)
}

/// What containers of one pod take of one device at most at the same time. A share that names no memory implies its part
/// of the device's: how much that is, only the device tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    /// Compute of all shares.
    milli: Sum,
    /// Compute of those that imply their memory.
    implying: Sum,
    /// Memory of the others.
    memory_mib: Sum,
    memory_asked: bool,
}

/// What runs together, and the most that an init container makes of it.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    together: u64,
    init: u64,
}

impl Sum {
    fn add(&mut self, role: ContainerRole, amount: u64) {
        let sum = self.together.saturating_add(amount);
        match role {
            ContainerRole::Init => self.init = self.init.max(sum),
            ContainerRole::Sidecar | ContainerRole::Main => self.together = sum,
        }
    }

    fn peak(self) -> u64 {
        self.together.max(self.init)
    }
}

impl Peak {
    pub(super) fn add(&mut self, role: ContainerRole, milli: u32, memory_mib: Option<u64>) {
        self.memory_asked |= memory_mib.is_some();
        self.milli.add(role, milli.into());
        self.implying.add(role, if memory_mib.is_some() { 0 } else { milli.into() });
        self.memory_mib.add(role, memory_mib.unwrap_or(0));
    }

    pub(super) fn milli(&self) -> u32 {
        u32::try_from(self.milli.peak()).unwrap_or(u32::MAX)
    }

    /// What that comes to in memory of a device that has `device_mib`; none where nobody asks and nobody knows.
    pub(super) fn memory_mib(&self, device_mib: Option<u64>) -> Option<u64> {
        let implied = device_mib.map(|all| implied_mib(all, self.implying.peak()));
        (self.memory_asked || implied.is_some()).then(|| self.memory_mib.peak().saturating_add(implied.unwrap_or(0)))
    }

    /// The same as parts: one that implies its memory, one that names it.
    fn amounts(&self) -> impl Iterator<Item = Amount> {
        let implying = u32::try_from(self.implying.peak()).unwrap_or(u32::MAX);
        let named = Amount::Share { milli: self.milli().saturating_sub(implying), memory_mib: Some(self.memory_mib.peak()) };
        let implied = Amount::Share { milli: implying, memory_mib: None };
        [(implying > 0, implied), (self.memory_asked, named)].into_iter().filter_map(|(there, amount)| there.then_some(amount))
    }
}

/// The part of a device's memory that so many thousandths of it imply.
pub(super) fn implied_mib(device_mib: u64, milli: u64) -> u64 {
    device_mib.saturating_mul(milli) / 1000
}
