//! Why a node or a whole request was refused: a closed set, because the text goes into the pod's condition, and
//! a text that changes between calls wakes the pod each time (473 calls in 25 s, measured).

use std::fmt;
use std::sync::Arc;

/// A refusal, as data. `Display` is the constant text that kube-scheduler shows; numbers and names belong in
/// the trace and in events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The scheduler offered a node that the watch has not shown yet.
    UnknownNode,
    /// The node has none of the resource.
    NoSuchDevices,
    /// Fewer free devices than asked for.
    InsufficientDevices,
    /// Enough free devices, too many of them unhealthy.
    UnhealthyDevices,
    /// No device has the asked-for share left.
    InsufficientShare,
    /// A device has the compute left, not the memory.
    InsufficientDeviceMemory,
    /// Shares hold devices of this node, and no agent keeps them apart from whole-device pods.
    NodeHoldsShares,
    /// Whole-device pods hold devices of this node, and no agent keeps them apart from shares.
    NodeHoldsWholeDevices,
    /// The profile keeps these devices for pods of higher priority.
    Reserved,
    /// Enough free TPU chips, and they do not lie together as a slice.
    NoSliceFree,
    /// No TPU slice of this generation has this shape, or as many chips.
    SliceNotAllowed,
    /// The request cannot be granted anywhere: whole devices and shares together, or an impossible amount.
    InvalidRequest,
    /// The namespace's ResourceQuota of this name is used up, shares counted.
    QuotaExceeded(Arc<str>),
    /// The node failed pods again and again, and is given none for a while.
    NodeQuarantined,
    /// Granting it would pass this queue's maximum.
    QueueMaximum(Arc<str>),
    /// The pod's priority class is none that this queue, which is its namespace's, allows.
    PriorityClassNotAllowed(Arc<str>),
    /// A Binding of this pod to another node, or of other devices, was written and may land yet.
    BindingUndecided,
    /// The pod's group does not fit as a whole.
    GroupDoesNotFit,
    /// No domain of the level that the pod's group requires holds all of it.
    NoDomainForGroup,
    /// The pod's group, or its wish for a topology, cannot be read or means nothing here.
    GroupInvalid,
    /// Nodes have such devices free, and kube-scheduler will not offer them: taints, selectors, cordons, CPU, memory.
    NodesClosed,
    /// Not all members of the pod's group are there.
    GroupIncomplete,
    /// Members of the pod's group are missing because their owner cannot create them: a quota, pod security, a webhook.
    MembersNotCreated,
    /// The pod's group has all its members and waits for its turn to be planned.
    GroupQueued,
    /// Pods of lower priority are on their way out to make room.
    RoomComing,
    /// No set of moves opens the block that was asked for, or there is no such block.
    BlockShut,
    /// What is free is kept for a gang that has waited longer.
    RoomKept,
    /// The plan of the pod's group has it elsewhere, and that node was not offered.
    PlannedElsewhere,
}

/// Whether evicting pods, by kube-scheduler's own integer view, could cure a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curable {
    /// kube-scheduler sees the same lack of integers: goes to FailedNodes.
    ByEviction,
    /// Only we see it: goes to FailedAndUnresolvableNodes, else each retry lists every node (5.2 kB, 234 calls in 15 s).
    NotByScheduler,
}

impl Reason {
    /// It is over in a moment without anybody's doing: nothing that people need to be told.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::GroupQueued | Self::RoomComing | Self::PlannedElsewhere)
    }

    /// A short, stable label for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownNode => "unknown-node",
            Self::NoSuchDevices => "no-such-devices",
            Self::InsufficientDevices => "insufficient-devices",
            Self::UnhealthyDevices => "unhealthy-devices",
            Self::InsufficientShare => "insufficient-share",
            Self::InsufficientDeviceMemory => "insufficient-device-memory",
            Self::NodeHoldsShares => "node-holds-shares",
            Self::NodeHoldsWholeDevices => "node-holds-whole-devices",
            Self::Reserved => "reserved",
            Self::NodeQuarantined => "node-quarantined",
            Self::NoSliceFree => "no-slice-free",
            Self::SliceNotAllowed => "slice-not-allowed",
            Self::InvalidRequest => "invalid-request",
            Self::QuotaExceeded(_) => "quota-exceeded",
            Self::QueueMaximum(_) => "queue-maximum",
            Self::PriorityClassNotAllowed(_) => "priority-class-not-allowed",
            Self::BindingUndecided => "binding-undecided",
            Self::GroupDoesNotFit => "group-does-not-fit",
            Self::NoDomainForGroup => "no-domain-for-group",
            Self::GroupInvalid => "group-invalid",
            Self::NodesClosed => "nodes-closed",
            Self::GroupIncomplete => "group-incomplete",
            Self::MembersNotCreated => "members-not-created",
            Self::GroupQueued => "group-queued",
            Self::RoomComing => "room-coming",
            Self::BlockShut => "block-shut",
            Self::RoomKept => "room-kept",
            Self::PlannedElsewhere => "planned-elsewhere",
        }
    }
}

impl Reason {
    /// Whether more nodes could cure it.
    pub fn lacks_room(&self) -> bool {
        match self {
            Self::NoSuchDevices
            | Self::InsufficientDevices
            | Self::UnhealthyDevices
            | Self::InsufficientShare
            | Self::InsufficientDeviceMemory
            | Self::NodeHoldsShares
            | Self::NodeHoldsWholeDevices
            | Self::Reserved
            | Self::NoSliceFree
            | Self::NodeQuarantined
            | Self::GroupDoesNotFit
            | Self::NoDomainForGroup
            | Self::NodesClosed
            | Self::RoomKept => true,
            Self::UnknownNode
            | Self::SliceNotAllowed
            | Self::InvalidRequest
            | Self::QuotaExceeded(_)
            | Self::QueueMaximum(_)
            | Self::PriorityClassNotAllowed(_)
            | Self::BindingUndecided
            | Self::GroupInvalid
            | Self::GroupIncomplete
            | Self::MembersNotCreated
            | Self::GroupQueued
            | Self::RoomComing
            | Self::BlockShut
            | Self::PlannedElsewhere => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownNode => f.write_str("gangplank: node not seen yet"),
            Self::NoSuchDevices => f.write_str("gangplank: node has no such accelerator"),
            Self::InsufficientDevices => f.write_str("gangplank: insufficient free accelerators"),
            Self::UnhealthyDevices => f.write_str("gangplank: accelerators unhealthy"),
            Self::InsufficientShare => f.write_str("gangplank: no accelerator has such a share free"),
            Self::InsufficientDeviceMemory => f.write_str("gangplank: no accelerator has enough memory free"),
            Self::NodeHoldsShares => f.write_str("gangplank: node is used by shares"),
            Self::NodeHoldsWholeDevices => f.write_str("gangplank: node is used by whole-accelerator pods"),
            Self::Reserved => f.write_str("gangplank: accelerators reserved for higher priority"),
            Self::NoSliceFree => f.write_str("gangplank: free TPU chips form no such slice"),
            Self::SliceNotAllowed => f.write_str("gangplank: TPU has no slice of this size"),
            Self::InvalidRequest => f.write_str("gangplank: impossible accelerator request"),
            Self::BindingUndecided => f.write_str("gangplank: an earlier binding of this pod is undecided"),
            Self::NodeQuarantined => f.write_str("gangplank: node is in quarantine"),
            Self::GroupDoesNotFit => f.write_str("gangplank: the group does not fit as a whole"),
            Self::NoDomainForGroup => f.write_str("gangplank: no topology domain holds the group as it requires"),
            Self::GroupInvalid => f.write_str("gangplank: the group's annotations cannot be honoured"),
            Self::NodesClosed => f.write_str("gangplank: nodes with such accelerators are closed to the pod"),
            Self::GroupIncomplete => f.write_str("gangplank: waiting for the other members of the group"),
            Self::MembersNotCreated => f.write_str("gangplank: members of the group cannot be created"),
            Self::GroupQueued => f.write_str("gangplank: the group waits to be planned"),
            Self::RoomComing => f.write_str("gangplank: pods of lower priority are making room"),
            Self::BlockShut => f.write_str("gangplank: nothing opens such a block"),
            Self::RoomKept => f.write_str("gangplank: free devices are kept for a gang that has waited longer"),
            Self::PlannedElsewhere => f.write_str("gangplank: planned on another node with its group"),
            Self::QuotaExceeded(name) => {
                write!(f, "gangplank: exceeds ResourceQuota {name}, shares counted")
            }
            Self::QueueMaximum(name) => write!(f, "gangplank: exceeds the maximum of queue {name}"),
            Self::PriorityClassNotAllowed(name) => write!(f, "gangplank: queue {name} does not allow this priority class"),
        }
    }
}

/// The full story of a refused request, for the trace, events and explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The dominant reason.
    pub reason: Reason,
    /// What was needed.
    pub needed: String,
    /// What was there.
    pub there: String,
    /// What would change it.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    /// As people are told it; the reason stands in front where both are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}; {}", self.needed, self.there, self.remedy)
    }
}
