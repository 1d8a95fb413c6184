//! PodGroup of scheduler-plugins (coscheduling).

use super::draft::{Draft, count};
use super::{GangObject, Kind};
use crate::model::GangKind;

pub(super) const KIND: Kind = Kind {
    group: "scheduling.x-k8s.io",
    versions: &["v1alpha1"],
    kind: "PodGroup",
    plural: "podgroups",
    feed: "podgroups.scheduling.x-k8s.io",
};

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    vec![Draft::new(GangKind::SchedulerPlugins, object.name(), count(&object.spec["minMember"], 1))]
}
