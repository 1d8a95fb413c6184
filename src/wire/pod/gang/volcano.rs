//! Volcano: an annotation names a PodGroup of scheduling.volcano.sh; its own Jobs say which task a pod is.

use super::{Count, Found, Marks, Seat, index};
use crate::model::GangKind;

const GROUP: [&str; 2] = ["scheduling.k8s.io/group-name", "scheduling.volcano.sh/group-name"];
const MIN_MEMBER: &str = "scheduling.volcano.sh/group-min-member";
const TASK: &str = "volcano.sh/task-spec";
const TASK_INDEX: &str = "volcano.sh/task-index";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let name = GROUP.iter().find_map(|key| marks.annotation(key))?;
    let min = Count::of(marks.annotation(MIN_MEMBER));
    Some(Found { min, ..Found::named(GangKind::Volcano, name) })
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    let either = |key| marks.annotation(key).or_else(|| marks.label(key));
    Some(Seat { role: either(TASK)?.to_owned(), rank: index(either(TASK_INDEX)) })
}
