//! Group and topology annotations of a pod. They are any tenant's to write: bounded, and what cannot be read is kept as
//! such, so that nothing is placed on a guess.

use std::sync::Arc;

use super::super::annotations::{GANG, GANG_MIN, GANG_SIZE, TOPOLOGY_PREFERRED, TOPOLOGY_REQUIRED};
use super::PodObject;
use crate::model::{GangId, GangKind, GangRef, Parts, PodKey, TopologyWishes, Wish};

/// The largest group that is planned; the planner's work grows with it.
const SIZE_MAX: u32 = 10_000;
/// As many levels as a fabric has, at most.
const WISHES_MAX: usize = 16;
/// A label key with its prefix.
const LEVEL_BYTES_MAX: usize = 317;

const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
const KUEUE_REQUIRED: &str = "kueue.x-k8s.io/podset-required-topology";
const KUEUE_PREFERRED: &str = "kueue.x-k8s.io/podset-preferred-topology";
const KUEUE_SLICE: &str = "kueue.x-k8s.io/podset-slice-required-topology";
const KUEUE_SLICE_SIZE: &str = "kueue.x-k8s.io/podset-slice-size";

/// The group of a pod, and how near to each other its members want to be.
pub(super) fn read(pod: &PodObject, namespace: &str) -> (Option<GangRef>, TopologyWishes) {
    let mut wishes = TopologyWishes::default();
    let gang = pod.annotation(GANG).filter(|name| !name.is_empty()).map(|name| {
        let size = pod.annotation(GANG_SIZE).and_then(|size| size.parse().ok()).filter(|size| (1..=SIZE_MAX).contains(size));
        if size.is_none() || name.len() > LEVEL_BYTES_MAX {
            wishes.unreadable = Some(Arc::from(format!("{GANG} needs {GANG_SIZE}, a number within 1..={SIZE_MAX}")));
        }
        let short: String = name.chars().take(LEVEL_BYTES_MAX).collect();
        let id = GangId { kind: GangKind::Annotation, key: PodKey::new(namespace, short), uid: Arc::from("") };
        let min = pod.annotation(GANG_MIN).and_then(|min| min.parse().ok()).filter(|min| (1..=size.unwrap_or(1)).contains(min));
        GangRef { id, size: Some(size.unwrap_or(1)), min, role: Arc::from(""), rank: rank(pod) }
    });
    let slices = || {
        let size: Option<u32> = pod.annotation(KUEUE_SLICE_SIZE).and_then(|size| size.parse().ok());
        size.zip(pod.annotation(KUEUE_SLICE)).map(|(size, level)| format!("{level}:{size}"))
    };
    let join = |first: Option<&str>, second: Option<String>| -> String {
        first.map(String::from).into_iter().chain(second).collect::<Vec<_>>().join(",")
    };
    let ours = pod.annotation(TOPOLOGY_REQUIRED).is_some() || pod.annotation(TOPOLOGY_PREFERRED).is_some();
    let (required, preferred) = if ours {
        (join(pod.annotation(TOPOLOGY_REQUIRED), None), join(pod.annotation(TOPOLOGY_PREFERRED), None))
    } else {
        (join(pod.annotation(KUEUE_REQUIRED), slices()), join(pod.annotation(KUEUE_PREFERRED), None))
    };
    for (text, list) in [(&required, &mut wishes.required), (&preferred, &mut wishes.preferred)] {
        match levels(text) {
            Ok(read) => *list = read,
            Err(problem) => wishes.unreadable = Some(Arc::from(problem)),
        }
    }
    (gang, wishes)
}

fn rank(pod: &PodObject) -> Option<u32> {
    let label = || pod.metadata.labels.as_ref()?.get(COMPLETION_INDEX).map(String::as_str);
    pod.annotation(COMPLETION_INDEX).or_else(label)?.parse().ok()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "called with literals")]
    fn read(annotations: serde_json::Value) -> (Option<GangRef>, TopologyWishes) {
        let object = json!({"metadata": {"name": "p", "uid": "u", "annotations": annotations}, "spec": {"containers": []}});
        super::read(&serde_json::from_value(object).unwrap(), "ns")
    }

    #[test]
    fn a_group_has_a_name_a_size_and_perhaps_a_rank() {
        let (gang, wishes) = read(json!({"gangplank.dev/gang": "train", "gangplank.dev/gang-size": "4", COMPLETION_INDEX: "2"}));
        let id = GangId { kind: GangKind::Annotation, key: PodKey::new("ns", "train"), uid: "".into() };
        assert_eq!(gang, Some(GangRef { id, size: Some(4), min: None, role: "".into(), rank: Some(2) }));
        assert!(wishes.is_empty());
        assert_eq!(read(json!({})), (None, TopologyWishes::default()));
        for size in ["", "0", "-1", "many", "10001", "99999999999"] {
            assert!(read(json!({"gangplank.dev/gang": "train", "gangplank.dev/gang-size": size})).1.unreadable.is_some(), "{size}");
        }
    }

    #[test]
    fn wishes_name_levels_and_how_the_group_is_divided() {
        let wish = |level: &str, parts| Wish { level: level.into(), parts };
        let (_, wishes) = read(json!({
            "gangplank.dev/topology-required": " block , clique:even",
            "gangplank.dev/topology-preferred": "nvidia.com/gpu.clique:8",
        }));
        assert_eq!(wishes.required, [wish("block", Parts::Whole), wish("clique", Parts::Even)]);
        assert_eq!(wishes.preferred, [wish("nvidia.com/gpu.clique", Parts::Slices(8))]);
        for broken in [":", "rack:", "rack:odd", "rack:0", ":even", &"x".repeat(400), &"rack,".repeat(17)] {
            assert!(read(json!({"gangplank.dev/topology-required": broken})).1.unreadable.is_some(), "{broken}");
        }
    }

    #[test]
    fn kueues_annotations_are_read_where_ours_are_not() {
        let kueue = json!({KUEUE_REQUIRED: "dc/block", KUEUE_SLICE: "dc/rack", KUEUE_SLICE_SIZE: "4"});
        assert_eq!(read(kueue.clone()).1.required.len(), 2);
        assert_eq!(read(kueue.clone()).1.required[1], Wish { level: "dc/rack".into(), parts: Parts::Slices(4) });
        let mut both = kueue;
        both[TOPOLOGY_PREFERRED] = "rack".into();
        let (_, wishes) = read(both);
        assert_eq!((wishes.required.len(), wishes.preferred.len()), (0, 1));
    }
}
