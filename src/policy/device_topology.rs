//! Prefers nodes whose free devices are well linked to each other.

use super::Policy;
use crate::book::Placement;

/// # What it does
/// Scores a node by the links among the devices the pod would get, against the best choice of as many devices on
/// the same box when empty.
/// # Why
/// Two GPUs on one NVLink island and two across sockets are both "2 GPUs" to kube-scheduler; a ring over them differs
/// by an order of magnitude.
/// # When it hurts
/// Pods whose devices never talk to each other gain nothing from it and may leave a fuller box for an emptier one.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTopology;

impl Policy for DeviceTopology {
    fn name(&self) -> &'static str {
        "device-topology"
    }

    fn score_milli(&self, placement: &Placement) -> u16 {
        placement.link_quality_milli
    }
}
