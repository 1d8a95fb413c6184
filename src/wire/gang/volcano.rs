//! PodGroup of Volcano, with its wishes on HyperNodes: `mode: hard` is required, anything else preferred.

use serde_json::Value;

use super::draft::{Draft, count, count_if_any};
use super::{GangObject, Kind};
use crate::model::{GangKind, Parts};

pub(super) const KIND: Kind = Kind {
    group: "scheduling.volcano.sh",
    versions: &["v1beta1"],
    kind: "PodGroup",
    plural: "podgroups",
    feed: "podgroups.scheduling.volcano.sh",
};

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    let spec = &object.spec;
    let draft = Draft::new(GangKind::Volcano, object.name(), count(&spec["minMember"], 1));
    let draft = wish(draft, &spec["networkTopology"], Parts::Whole);
    let groups = spec["subGroupPolicy"].as_array().into_iter().flatten();
    let sub_group = |draft, policy: &Value| {
        let size = count_if_any(&policy["subGroupSize"]).and_then(|size| u32::try_from(size).ok()).filter(|size| *size > 0);
        match size {
            Some(size) => wish(draft, &policy["networkTopology"], Parts::Slices(size)),
            None => draft,
        }
    };
    vec![groups.fold(draft, sub_group)]
}

fn wish(draft: Draft, topology: &Value, parts: Parts) -> Draft {
    let tier = topology["highestTierAllowed"].as_u64().map(|tier| format!("tier-{tier}"));
    let level = topology["highestTierName"].as_str().or(tier.as_deref());
    if topology["mode"] == "soft" { draft.preferred(level, parts) } else { draft.required(level, parts) }
}
