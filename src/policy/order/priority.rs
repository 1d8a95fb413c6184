//! `priority`: of equal priority the namespace that had less of late goes first, then the older job.

use super::{Job, Order};

/// Priority, then fairness between namespaces, then age.
#[derive(Debug)]
pub(super) struct Priority;

impl Order for Priority {
    fn name(&self) -> &'static str {
        "priority"
    }

    fn goes_by(&self) -> &'static str {
        "priority, then what its namespace had of late, then age"
    }

    fn rank(&self, _: &Job) -> u128 {
        0
    }

    fn is_fair(&self) -> bool {
        true
    }
}
