//! A holder: a pod and what it takes from its node.

use std::collections::BTreeMap;

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
    /// A short name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
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
        takes.extend(std::iter::repeat_n(whole, request.whole_of(resource) as usize));
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
        takes.push(Take { resource: resource.clone(), device: Some(device.clone()), amount: peak.amount() });
    }
    Some(takes)
}

/// What containers of one pod take of one device at most at the same time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    together: (u32, u64),
    init: (u32, u64),
    memory_asked: bool,
}

impl Peak {
    pub(super) fn add(&mut self, role: ContainerRole, milli: u32, memory_mib: Option<u64>) {
        self.memory_asked |= memory_mib.is_some();
        let sum = (self.together.0.saturating_add(milli), self.together.1.saturating_add(memory_mib.unwrap_or(0)));
        match role {
            ContainerRole::Init => self.init = (self.init.0.max(sum.0), self.init.1.max(sum.1)),
            ContainerRole::Sidecar | ContainerRole::Main => self.together = sum,
        }
    }

    pub(super) fn milli(&self) -> u32 {
        self.together.0.max(self.init.0)
    }

    pub(super) fn memory_mib(&self) -> Option<u64> {
        self.memory_asked.then_some(self.together.1.max(self.init.1))
    }

    pub(super) fn amount(&self) -> Amount {
        Amount::Share { milli: self.milli(), memory_mib: self.memory_mib() }
    }
}
