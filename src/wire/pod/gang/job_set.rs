//! JobSet, also where a TrainJob made it. A role is one of its Jobs, as the Job's name ends: that is as far as a pod
//! knows its place.

use super::{Found, Marks, Seat};
use crate::model::GangKind;

const NAME: &str = "jobset.sigs.k8s.io/jobset-name";
const UID: &str = "jobset.sigs.k8s.io/jobset-uid";
const REPLICATED: &str = "jobset.sigs.k8s.io/replicatedjob-name";
const REPLICAS: &str = "jobset.sigs.k8s.io/replicatedjob-replicas";
const JOB_INDEX: &str = "jobset.sigs.k8s.io/job-index";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let either = |key| marks.label(key).or_else(|| marks.annotation(key));
    let found = Found::named(GangKind::JobSet, either(NAME)?);
    Some(Found { uid: either(UID).unwrap_or_default().to_owned(), ..found })
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    let either = |key| marks.label(key).or_else(|| marks.annotation(key));
    let (name, several) = (either(REPLICATED)?, either(REPLICAS).is_some_and(|replicas| replicas != "1"));
    let role = either(JOB_INDEX).filter(|_| several).map_or_else(|| name.to_owned(), |job| format!("{name}-{job}"));
    Some(Seat { role, rank: marks.completion_index() })
}
