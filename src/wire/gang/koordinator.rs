//! PodGroup as Koordinator reads it: the older group of the same kind, with annotations of its own.

use super::draft::{Draft, count};
use super::{GangObject, Kind};
use crate::model::GangKind;

pub(super) const KIND: Kind = Kind {
    group: "scheduling.sigs.k8s.io",
    versions: &["v1alpha1"],
    kind: "PodGroup",
    plural: "podgroups",
    feed: "podgroups.scheduling.sigs.k8s.io",
};

const TOTAL: &str = "gang.scheduling.koordinator.sh/total-number";

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    let min = count(&object.spec["minMember"], 1);
    let total = object.annotation(TOTAL).map_or(min, |total| total.parse().unwrap_or(u64::MAX));
    vec![Draft::new(GangKind::Koordinator, object.name(), total.max(min)).at_least(Some(min))]
}
