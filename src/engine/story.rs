//! The full story of a refusal: what was needed, what was there, what would change it.

use std::collections::BTreeMap;

use super::Engine;
use crate::book::NodeEntry;
use crate::model::{DeviceRequest, NodeName, Pod, Reason, Refusal};
use crate::topology::torus::HostChips;

impl Engine {
    /// The story of a pod that no offered node takes.
    pub(super) fn story(&self, pod: &Pod, names: &[&str], counts: &[(Reason, u32)]) -> Refusal {
        let reason = counts.first().map_or(Reason::UnknownNode, |(reason, _)| reason.clone());
        let by_reason: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {}", reason.code())).collect();
        let nearest = self.nearest(pod, names);
        let mut there = format!("of {} offered nodes: {}", names.len(), by_reason.join(", "));
        let mut remedy = remedy(&reason);
        let chips = nearest.as_ref().and_then(|(node, ..)| self.chips(pod, node));
        if let (Some((chips, free_ids)), Reason::NoSliceFree | Reason::SliceNotAllowed) = (chips, &reason) {
            remedy = match (&reason, chips.largest(free_ids)) {
                (Reason::NoSliceFree, Some(largest)) => {
                    format!("at most {largest} in one container, or wait until pods beside the free chips end")
                }
                (Reason::NoSliceFree, None) => remedy,
                _ => format!("ask for {} in one container", chips.counts().map(|count| count.to_string()).collect::<Vec<_>>().join(" or ")),
            };
        }
        if let Some((node, free, needed)) = nearest {
            let largest = self.largest(pod, names);
            if largest > 0 && largest < needed {
                there = format!("the largest node has {largest}");
                let pods = needed.div_ceil(largest);
                let remedy = format!("split the work over {pods} pods of {} each", needed.div_ceil(pods));
                return Refusal { reason, needed: summary(&pod.request), there, remedy };
            }
            there = format!("{there}; nearest is {node} with {free} free");
            if free > 0 && free < needed {
                remedy = format!("{} more freed on {node}, or a request of at most {free}", needed - free);
            }
        }
        Refusal { reason, needed: summary(&pod.request), there, remedy }
    }

    /// The TPU chips of a node, and which of them are free.
    fn chips(&self, pod: &Pod, node: &NodeName) -> Option<(&'static HostChips, u64)> {
        let pool = self.book.node(node.as_str())?.pool(pod.request.resources().into_iter().next()?)?;
        Some((pool.chips?, pool.free_ids))
    }

    /// The offered node with the most free devices of the first resource that the pod asks for.
    fn nearest(&self, pod: &Pod, names: &[&str]) -> Option<(NodeName, u32, u32)> {
        let resource = pod.request.resources().into_iter().next()?;
        let needed = pod.request.whole_of(resource);
        let free = |entry: &NodeEntry| entry.pool(resource).map(|pool| pool.free);
        let entries = names.iter().filter_map(|name| self.book.node(name));
        entries
            .filter_map(|entry| Some((free(entry)?, entry)))
            .max_by(|(a, x), (b, y)| a.cmp(b).then_with(|| y.node.name.cmp(&x.node.name)))
            .map(|(free, entry)| (entry.node.name.clone(), free, needed))
    }
}

impl Engine {
    /// How many devices of the first resource that the pod asks for one node has at most, free or not.
    fn largest(&self, pod: &Pod, names: &[&str]) -> u32 {
        let Some(resource) = pod.request.resources().into_iter().next() else { return 0 };
        let pools = names.iter().filter_map(|name| self.book.node(name)?.pool(resource));
        pools.map(|pool| pool.units).max().unwrap_or(0)
    }
}

fn remedy(reason: &Reason) -> String {
    match reason {
        Reason::UnknownNode => "the watch will show the node shortly".into(),
        Reason::NoSuchDevices => "add nodes with this accelerator, or ask for one that the cluster has".into(),
        Reason::InsufficientDevices => "running pods must end first, or more nodes be added".into(),
        Reason::UnhealthyDevices => "repair the unhealthy devices (see the node's AcceleratorNode)".into(),
        Reason::InsufficientShare => "a smaller share, or shares elsewhere must end first".into(),
        Reason::InsufficientDeviceMemory => "less gangplank.dev/gpu-memory-mib, or nodes whose device memory is known and free".into(),
        Reason::NodeHoldsShares | Reason::NodeHoldsWholeDevices => {
            "install gangplank-agent on these nodes: it keeps shares and whole devices apart".into()
        }
        Reason::Reserved => "a higher priority, or a smaller reserve in the profile".into(),
        Reason::NoSliceFree => "ask for fewer chips, or wait until pods beside the free chips end".into(),
        Reason::SliceNotAllowed => "ask for as many chips as a slice of this TPU has".into(),
        Reason::InvalidRequest => "change the request".into(),
        Reason::BindingUndecided => "none needed: the API server's answer or a deadline of minutes decides".into(),
        Reason::GroupDoesNotFit | Reason::NoDomainForGroup | Reason::GroupInvalid => "see the group's own story".into(),
        Reason::NodeQuarantined => "wait until the quarantine ends, or label the node gangplank.dev/quarantine=off".into(),
        Reason::NodesClosed => "open such nodes to the pod".into(),
        Reason::GroupIncomplete => "create the missing members".into(),
        Reason::MembersNotCreated => "mend what refuses the missing members".into(),
        Reason::RoomKept => "wait until the gang for which room is kept has started".into(),
        Reason::GroupQueued => "none needed: it is planned in a moment".into(),
        Reason::RoomComing => "none needed: it is planned when they are gone".into(),
        Reason::BlockShut => "see the block's own story".into(),
        Reason::PlannedElsewhere => "none needed: the plan expires, and the group is planned anew".into(),
        Reason::QueueMaximum(name) => format!("raise the maximum of queue {name}"),
        Reason::PriorityClassNotAllowed(name) => format!("name a priority class that queue {name} allows"),
        Reason::QuotaExceeded(name) => format!("raise ResourceQuota {name}"),
    }
}

/// A request for people: `4 of nvidia.com/gpu`.
pub(super) fn summary(request: &DeviceRequest) -> String {
    let mut parts: Vec<String> = request.resources().into_iter().map(|name| format!("{} of {name}", request.whole_of(name))).collect();
    let mut shares: BTreeMap<u32, u32> = BTreeMap::new();
    for share in request.containers.iter().filter_map(|container| container.share) {
        *shares.entry(share.milli).or_default() += 1;
    }
    parts.extend(shares.into_iter().map(|(milli, count)| format!("{count} x {milli} gpu-milli")));
    if parts.is_empty() { "nothing that can be read".into() } else { parts.join(" and ") }
}
