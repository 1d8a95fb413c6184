//! PodGroup of Kubernetes itself: v1alpha2 in 1.36, v1beta1 from 1.37. With the policy `basic` its pods need not start
//! together.

use super::draft::{Draft, count};
use super::{GangObject, Kind};
use crate::model::{GangKind, Parts};

pub(super) const KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    versions: &["v1beta1", "v1alpha3", "v1alpha2"],
    kind: "PodGroup",
    plural: "podgroups",
    feed: "podgroups.scheduling.k8s.io",
};

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    let spec = &object.spec;
    let gang = &spec["schedulingPolicy"]["gang"];
    let size = if gang.is_object() { count(&gang["minCount"], 1) } else { 1 };
    let levels = spec["schedulingConstraints"]["topology"].as_array().into_iter().flatten();
    let draft = Draft::new(GangKind::PodGroup, object.name(), size);
    vec![levels.fold(draft, |draft, level| draft.required(level["key"].as_str(), Parts::Whole))]
}
