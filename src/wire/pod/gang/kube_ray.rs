//! KubeRay: the head and the workers of a RayCluster.

use super::{Found, Marks, Seat};
use crate::model::GangKind;

const CLUSTER: &str = "ray.io/cluster";
const NODE_TYPE: &str = "ray.io/node-type";
const GROUP: &str = "ray.io/group";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let found = Found::named(GangKind::KubeRay, marks.label(CLUSTER)?);
    // The pod that submits a RayJob bears the cluster's name and is none of its nodes.
    marks.label(NODE_TYPE)?;
    let owner = marks.controller("ray.io").filter(|owner| owner.kind == "RayCluster");
    Some(Found { uid: owner.map(|owner| owner.uid.clone()).unwrap_or_default(), ..found })
}

pub(super) fn seat(marks: &Marks<'_>) -> Option<Seat> {
    marks.label(CLUSTER)?;
    let role = match marks.label(NODE_TYPE)? {
        "head" => "head",
        _ => marks.label(GROUP).unwrap_or_default(),
    };
    Some(Seat { role: role.to_owned(), rank: None })
}
