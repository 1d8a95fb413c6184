//! A Job: with as many pods at a time as it needs completions, and more than one, its pods start together.

use super::draft::{Draft, count};
use super::{GangObject, Kind, is_part_of_another};
use crate::model::GangKind;

pub(super) const KIND: Kind = Kind { group: "batch", versions: &["v1"], kind: "Job", plural: "jobs", feed: "jobs.batch" };

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    if is_part_of_another(object) {
        return Vec::new();
    }
    let parallelism = count(&object.spec["parallelism"], 1);
    let together = object.spec["completions"].as_u64() == Some(parallelism) && parallelism > 1;
    vec![Draft::new(GangKind::Owner, object.name(), if together { parallelism } else { 1 })]
}
