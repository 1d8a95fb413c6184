//! scheduler-plugins: a label names a PodGroup of scheduling.x-k8s.io.

use super::{Found, Marks};
use crate::model::GangKind;

const GROUP: &str = "scheduling.x-k8s.io/pod-group";

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    marks.label(GROUP).map(|name| Found::named(GangKind::SchedulerPlugins, name))
}
