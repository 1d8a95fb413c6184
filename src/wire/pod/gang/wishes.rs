//! How near to each other a pod says that its gang wants to be: by our annotations, or else by those that Kueue,
//! Volcano, Koordinator and LeaderWorkerSet put on pods.

use std::sync::Arc;

use serde_json::Value;

use super::Marks;
use crate::model::{Parts, TopologyWishes, Wish};
use crate::wire::annotations::{TOPOLOGY_PREFERRED, TOPOLOGY_REQUIRED};
use crate::wire::gang::{LEVEL_BYTES_MAX, SIZE_MAX, push};

/// As many levels as a fabric has, at most.
const WISHES_MAX: usize = 16;
/// A text of Koordinator's with far more levels than that.
const SPEC_BYTES_MAX: usize = 4096;

pub(super) const KUEUE_REQUIRED: &str = "kueue.x-k8s.io/podset-required-topology";
const KUEUE_PREFERRED: &str = "kueue.x-k8s.io/podset-preferred-topology";
pub(super) const KUEUE_SLICE: &str = "kueue.x-k8s.io/podset-slice-required-topology";
pub(super) const KUEUE_SLICE_SIZE: &str = "kueue.x-k8s.io/podset-slice-size";
const LWS_EXCLUSIVE: &str = "leaderworkerset.sigs.k8s.io/exclusive-topology";
const LWS_SUB_GROUP_EXCLUSIVE: &str = "leaderworkerset.sigs.k8s.io/subgroup-exclusive-topology";
const LWS_SUB_GROUP_SIZE: &str = "leaderworkerset.sigs.k8s.io/subgroup-size";
const VOLCANO_MODE: &str = "volcano.sh/network-topology-mode";
const VOLCANO_TIER: &str = "volcano.sh/network-topology-highest-tier";
const KOORDINATOR: &str = "gang.scheduling.koordinator.sh/network-topology-spec";

pub(super) fn read(marks: &Marks<'_>) -> TopologyWishes {
    let mut wishes = TopologyWishes::default();
    let ours = [(TOPOLOGY_REQUIRED, true), (TOPOLOGY_PREFERRED, false)];
    if ours.iter().any(|(key, _)| marks.0.annotation(key).is_some()) {
        for (key, required) in ours {
            match levels(marks.annotation(key).unwrap_or_default()) {
                Ok(read) if required => wishes.required = read,
                Ok(read) => wishes.preferred = read,
                Err(problem) => wishes.unreadable = Some(Arc::from(problem)),
            }
        }
        return wishes;
    }
    for foreign in [kueue, leader_worker_set, volcano, koordinator] {
        foreign(marks, &mut wishes);
        if !wishes.is_empty() {
            break;
        }
    }
    wishes
}

/// `rack`, `block, clique:even`, `clique:8`.
fn levels(text: &str) -> Result<Vec<Wish>, String> {
    let wishes: Vec<&str> = text.split(',').map(str::trim).filter(|wish| !wish.is_empty()).collect();
    if wishes.len() > WISHES_MAX {
        return Err(format!("{} levels, at most {WISHES_MAX} are read", wishes.len()));
    }
    let wish = |wish: &str| {
        let (level, parts) = match wish.split_once(':') {
            None => (wish, Parts::Whole),
            Some((level, "even")) => (level, Parts::Even),
            Some((level, members)) => match members.parse() {
                Ok(members) if (1..=SIZE_MAX).contains(&members) => (level, Parts::Slices(members)),
                _ => return Err(format!("after the colon stands neither `even` nor a number within 1..={SIZE_MAX}")),
            },
        };
        if level.is_empty() || level.len() > LEVEL_BYTES_MAX {
            return Err("a level without a name, or with one that is too long".to_owned());
        }
        Ok(Wish { level: Arc::from(level), parts })
    };
    wishes.into_iter().map(wish).collect()
}

fn kueue(marks: &Marks<'_>, wishes: &mut TopologyWishes) {
    push(wishes, marks.annotation(KUEUE_REQUIRED), Parts::Whole, true);
    push(wishes, marks.annotation(KUEUE_PREFERRED), Parts::Whole, false);
    if let Some(level) = marks.annotation(KUEUE_SLICE) {
        slices(wishes, level, marks.annotation(KUEUE_SLICE_SIZE), KUEUE_SLICE_SIZE);
    }
}

fn slices(wishes: &mut TopologyWishes, level: &str, size: Option<&str>, key: &str) {
    match size.and_then(|size| size.parse().ok()).filter(|size| (1..=SIZE_MAX).contains(size)) {
        Some(size) => push(wishes, Some(level), Parts::Slices(size), true),
        None => wishes.unreadable = Some(Arc::from(format!("{key} is no number within 1..={SIZE_MAX}"))),
    }
}

/// That nobody else may be in the domain is not planned for: the controller's own anti-affinity sees to it.
fn leader_worker_set(marks: &Marks<'_>, wishes: &mut TopologyWishes) {
    push(wishes, marks.annotation(LWS_EXCLUSIVE), Parts::Whole, true);
    if let Some(level) = marks.annotation(LWS_SUB_GROUP_EXCLUSIVE) {
        slices(wishes, level, marks.annotation(LWS_SUB_GROUP_SIZE), LWS_SUB_GROUP_SIZE);
    }
}

fn volcano(marks: &Marks<'_>, wishes: &mut TopologyWishes) {
    let Some(tier) = marks.annotation(VOLCANO_TIER) else { return };
    let level = tier.parse::<u32>().map(|tier| format!("tier-{tier}"));
    match level {
        Ok(level) => push(wishes, Some(&level), Parts::Whole, marks.annotation(VOLCANO_MODE) != Some("soft")),
        Err(_) => wishes.unreadable = Some(Arc::from(format!("{VOLCANO_TIER} is no number"))),
    }
}

/// `{"gatherStrategy": [{"layer": "rack", "strategy": "MustGather"}]}`.
fn koordinator(marks: &Marks<'_>, wishes: &mut TopologyWishes) {
    let Some(text) = marks.annotation(KOORDINATOR) else { return };
    let spec = Some(text).filter(|text| text.len() <= SPEC_BYTES_MAX).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(strategies) = spec.as_ref().and_then(|spec| spec["gatherStrategy"].as_array()).filter(|list| list.len() <= WISHES_MAX) else {
        wishes.unreadable = Some(Arc::from(format!("{KOORDINATOR} is no list of at most {WISHES_MAX} strategies")));
        return;
    };
    for strategy in strategies {
        push(wishes, Some(strategy["layer"].as_str().unwrap_or_default()), Parts::Whole, strategy["strategy"] == "MustGather");
    }
}
