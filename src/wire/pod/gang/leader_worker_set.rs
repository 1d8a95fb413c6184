//! LeaderWorkerSet: each replica is a gang, called as its leader pod is. Pods say how many they are, and not whether the
//! leader starts alone: the object is asked for both.

use super::{Found, Marks, Seat, index};
use crate::model::GangKind;

const NAME: &str = "leaderworkerset.sigs.k8s.io/name";
const GROUP: &str = "leaderworkerset.sigs.k8s.io/group-index";
const WORKER: &str = "leaderworkerset.sigs.k8s.io/worker-index";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let (name, group) = (marks.label(NAME)?, index(marks.label(GROUP))?);
    Some(Found::named(GangKind::LeaderWorkerSet, &format!("{name}-{group}")))
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    let (_, place) = (marks.label(NAME)?, index(marks.label(WORKER))?);
    let (role, rank) = place.checked_sub(1).map_or(("leader", 0), |worker| ("worker", worker));
    Some(Seat { role: role.to_owned(), rank: Some(rank) })
}
