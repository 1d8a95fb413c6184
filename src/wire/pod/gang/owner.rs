//! The Job that made the pod. Whether its pods start together the Job object says; a pod says that they need not with
//! `gangplank.dev/gang-size: "1"`.

use super::{Found, Marks, Seat};
use crate::model::GangKind;
use crate::wire::annotations::GANG_SIZE;

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let owner = marks.controller("batch").filter(|owner| owner.kind == "Job")?;
    if marks.annotation(GANG_SIZE) == Some("1") {
        return None;
    }
    Some(Found { uid: owner.uid.clone(), ..Found::named(GangKind::Owner, &owner.name) })
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    Some(Seat { role: String::new(), rank: Some(marks.completion_index()?) })
}
