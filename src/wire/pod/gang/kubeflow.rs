//! Jobs of Kubeflow's training operator and of its MPI operator. The MPI operator's launcher is owned by a Job of its
//! own: to be of one gang with the workers it goes by the name alone, and so do they.

use super::{Found, Marks, Seat, index};
use crate::model::GangKind;

const JOB: &str = "training.kubeflow.org/job-name";
const ROLE: [&str; 2] = ["training.kubeflow.org/replica-type", "training.kubeflow.org/job-role"];
const INDEX: &str = "training.kubeflow.org/replica-index";
const OPERATOR: &str = "training.kubeflow.org/operator-name";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let found = Found::named(GangKind::Kubeflow, marks.label(JOB)?);
    let owner = marks.controller("kubeflow.org").filter(|_| marks.label(OPERATOR) != Some("mpi-operator"));
    Some(Found { uid: owner.map(|owner| owner.uid.clone()).unwrap_or_default(), ..found })
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    marks.label(JOB)?;
    let role = ROLE.iter().find_map(|key| marks.label(key))?.to_lowercase();
    Some(Seat { role, rank: index(marks.label(INDEX)) })
}
