//! Kubernetes' own: the pod names a PodGroup of scheduling.k8s.io.

use super::{Found, Marks};
use crate::model::GangKind;

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let name = marks.0.spec.scheduling_group.as_ref()?.pod_group_name.as_deref().filter(|name| !name.is_empty())?;
    Some(Found::named(GangKind::PodGroup, name))
}
