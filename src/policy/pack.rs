//! Prefers nodes that are in use already.

use super::Policy;
use crate::book::Placement;

/// # What it does
/// Scores a node by how much of its devices would be in use afterwards.
/// # Why
/// Whole boxes stay free for jobs that need whole boxes.
/// # When it hurts
/// Where power or cooling per box is the limit, or where one box's failure should cost few pods.
#[derive(Clone, Copy, Debug)]
pub struct Pack;

impl Policy for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn score_milli(&self, placement: &Placement) -> u16 {
        placement.used_milli
    }
}
