//! LeaderWorkerSet: each of its replicas is a gang of a leader and its workers. Where the leader has to run before the
//! workers are made, it starts alone.

use super::draft::{Draft, count};
use super::{GangObject, Kind, SIZE_MAX};
use crate::model::{GangKind, Parts};

pub(super) const KIND: Kind = Kind {
    group: "leaderworkerset.x-k8s.io",
    versions: &["v1"],
    kind: "LeaderWorkerSet",
    plural: "leaderworkersets",
    feed: "leaderworkersets.leaderworkerset.x-k8s.io",
};

const EXCLUSIVE: &str = "leaderworkerset.sigs.k8s.io/exclusive-topology";
const SUB_GROUP_EXCLUSIVE: &str = "leaderworkerset.sigs.k8s.io/subgroup-exclusive-topology";

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    let spec = &object.spec;
    let template = &spec["leaderWorkerTemplate"];
    let size = count(&template["size"], 1);
    let (exclusive, sub_group) = (object.annotation(EXCLUSIVE), object.annotation(SUB_GROUP_EXCLUSIVE));
    // The controller makes the workers when it knows where the leader is.
    let leader_first = spec["startupPolicy"] == "LeaderReady" || exclusive.is_some() || sub_group.is_some();
    let slice = template["subGroupPolicy"]["subGroupSize"].as_u64().and_then(|size| u32::try_from(size).ok()).filter(|size| *size > 0);
    let gang = |index: u64| {
        let roles = vec![("leader".to_owned(), 1), ("worker".to_owned(), size.saturating_sub(1))];
        let draft = Draft::of_roles(GangKind::LeaderWorkerSet, format!("{}-{index}", object.name()), roles);
        let draft = draft.at_least(leader_first.then_some(1)).required(exclusive, Parts::Whole);
        draft.required(sub_group.filter(|_| slice.is_some()), Parts::Slices(slice.unwrap_or(1)))
    };
    (0..count(&spec["replicas"], 1).min(u64::from(SIZE_MAX))).map(gang).collect()
}
