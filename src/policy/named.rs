//! Prefers nodes where the exact devices are known.

use super::Policy;
use crate::book::Placement;

/// # What it does
/// Scores a node whose free devices are known by id above one where a pod without a record holds some unknown ones.
/// # Why
/// Only a known device can be chosen for its links, and be checked against what the container really got.
/// # When it hurts
/// In a cluster where most nodes also serve another scheduler, it gathers our pods on the few that do not.
#[derive(Clone, Copy, Debug)]
pub struct Named;

impl Policy for Named {
    fn name(&self) -> &'static str {
        "named"
    }

    fn score_milli(&self, placement: &Placement) -> u16 {
        if placement.named { 1000 } else { 0 }
    }
}
