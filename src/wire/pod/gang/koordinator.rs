//! Koordinator: annotations with name and sizes, or the label of a PodGroup of scheduling.sigs.k8s.io, or the labels of
//! the lightweight way that went before.

use super::{Count, Found, Marks, Seat, index};
use crate::model::GangKind;

const NAME: &str = "gang.scheduling.koordinator.sh/name";
const MIN: &str = "gang.scheduling.koordinator.sh/min-available";
const TOTAL: &str = "gang.scheduling.koordinator.sh/total-number";
const INDEX: &str = "gang.scheduling.koordinator.sh/network-topology-index";
const GROUP: &str = "pod-group.scheduling.sigs.k8s.io";
const LIGHT_NAME: &str = "pod-group.scheduling.sigs.k8s.io/name";
const LIGHT_MIN: &str = "pod-group.scheduling.sigs.k8s.io/min-available";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    if let Some(name) = marks.label(GROUP) {
        return Some(Found::named(GangKind::Koordinator, name));
    }
    let name = marks.label(LIGHT_NAME).or_else(|| marks.annotation(NAME))?;
    let min = Count::of(marks.label(LIGHT_MIN).or_else(|| marks.annotation(MIN)));
    // Without a total as many as are needed at least are all.
    let size = Count::of(marks.annotation(TOTAL)).or(min);
    Some(Found { size, min, ..Found::named(GangKind::Koordinator, name) })
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    Some(Seat { role: String::new(), rank: Some(index(marks.annotation(INDEX))?) })
}
