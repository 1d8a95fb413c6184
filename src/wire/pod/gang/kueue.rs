//! Kueue's groups of plain pods: label and annotation say all there is. What Kueue makes of other kinds it leaves to
//! their own conventions.

use super::{Count, Found, Marks, Seat, index};
use crate::model::GangKind;

const GROUP: &str = "kueue.x-k8s.io/pod-group-name";
const TOTAL: &str = "kueue.x-k8s.io/pod-group-total-count";
const ROLE: &str = "kueue.x-k8s.io/role-hash";
const INDEX: &str = "kueue.x-k8s.io/pod-group-pod-index";
/// Names the label that has the index.
const INDEX_LABEL: &str = "kueue.x-k8s.io/pod-group-pod-index-label";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let name = marks.label(GROUP).or_else(|| marks.annotation(GROUP))?;
    let size = match Count::of(marks.annotation(TOTAL)) {
        // Kueue itself refuses a group without it.
        Count::Absent => Count::Unreadable,
        size => size,
    };
    Some(Found { size, ..Found::named(GangKind::Kueue, name) })
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    let named = marks.annotation(INDEX_LABEL).and_then(|key| marks.label(key));
    let rank = index(marks.label(INDEX).or(named));
    // The index counts through the whole group: then roles would only break its order.
    let role = marks.annotation(ROLE).filter(|_| marks.label(GROUP).is_some() && rank.is_none());
    (role.is_some() || rank.is_some()).then(|| Seat { role: role.unwrap_or_default().to_owned(), rank })
}
