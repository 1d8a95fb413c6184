//! Each convention as its system writes it (tests/gangs/*.yaml), and what is understood of it: the lines that begin with
//! `#=` in the same file. `UPDATE=1 cargo test --lib wire::gang` rewrites them; the diff is the review.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Suspends, all, suspension};
use crate::model::{GangKind, GangSpec, OwnerRef, Parts, Pod, PodKey, TopologyWishes};
use crate::policy::Profile;
use crate::wire::PodObject;
use crate::wire::manifest::{gang_of_cluster, read};

fn wishes(topology: &TopologyWishes) -> String {
    let mut lines = Vec::new();
    for (word, list) in [("required", &topology.required), ("preferred", &topology.preferred)] {
        for wish in list {
            let parts = match wish.parts {
                Parts::Whole => String::new(),
                Parts::Slices(size) => format!(":{size}"),
                Parts::Even => ":even".to_owned(),
            };
            lines.push(format!(", {word} {}{parts}", wish.level));
        }
    }
    let unreadable = topology.unreadable.as_ref().map(|problem| format!(", unreadable: {problem}"));
    lines.into_iter().chain(unreadable).collect()
}

fn gang(spec: &GangSpec) -> String {
    let roles: Vec<String> = spec.roles.iter().map(|(role, members)| format!("{role}={members}")).collect();
    let roles = if roles.is_empty() { String::new() } else { format!(", roles {}", roles.join(" ")) };
    let suspend = spec.suspend.as_ref().map(|owner| format!(", suspend {} {} {}", owner.api_version, owner.kind, owner.key));
    let ours = if spec.suspended_by_us { " (by us)" } else { "" };
    let (id, suspend, wishes) = (&spec.id, suspend.unwrap_or_default(), wishes(&spec.topology));
    format!("gang {} {id} {}: size {}, min {}{roles}{wishes}{suspend}{ours}", id.kind.name(), id.uid, spec.size, spec.min)
}

fn member(pod: &Pod) -> String {
    let Some(gang) = &pod.gang else { return format!("pod {}: no gang{}", pod.key, wishes(&pod.topology)) };
    let number = |word: &str, number: Option<u32>| number.map(|number| format!(", {word} {number}")).unwrap_or_default();
    let text = |word: &str, text: &str| if text.is_empty() { String::new() } else { format!(", {word} {text}") };
    let said = [number("size", gang.size), number("min", gang.min), text("role", &gang.role), number("rank", gang.rank)].concat();
    format!("pod {}: in {} {}{}{said}{}", pod.key, gang.id.kind.name(), gang.id, text("uid", &gang.id.uid), wishes(&pod.topology))
}

#[test]
fn each_convention_is_understood_as_its_system_writes_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gangs");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let documents: Vec<Value> = read(&name, &text).unwrap().into_iter().map(|document| document.object).collect();
        let mut lines: Vec<String> =
            all(documents.iter().filter_map(gang_of_cluster).collect()).iter().map(|news| gang(&news.spec)).collect();
        for document in documents.iter().filter(|document| document["kind"] == "Pod") {
            let pod = PodObject::deserialize(document).unwrap().to_model(&Profile::shipped().classes).unwrap();
            seen.extend(pod.gang.as_ref().map(|gang| gang.id.kind));
            lines.push(member(&pod));
        }
        let written: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#= ")).collect();
        if lines == written {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            let rest = text.lines().filter(|line| !line.starts_with("#=")).map(str::to_owned);
            let all: Vec<String> = rest.chain(lines.iter().map(|line| format!("#= {line}"))).collect();
            fs::write(&file, all.join("\n") + "\n").unwrap();
        } else {
            wrong.push(format!("--- {name}\n{}", lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "understood otherwise than written:\n{}", wrong.join("\n"));
    let without: Vec<_> = GangKind::ALL.into_iter().filter(|kind| *kind != GangKind::Alone && !seen.contains(kind)).collect();
    assert!(without.is_empty(), "no fixture for {without:?}");
}

#[test]
fn a_name_without_end_is_cut_and_said_to_be_unreadable() {
    let object =
        json!({"metadata": {"name": "p", "uid": "u", "annotations": {"scheduling.k8s.io/group-name": "ü".repeat(400)}}, "spec": {}});
    let pod = PodObject::deserialize(&object).unwrap().to_model(&Profile::shipped().classes).unwrap();
    assert!(pod.gang.unwrap().id.key.name.len() <= 253);
    assert!(pod.topology.unreadable.is_some());
}

#[test]
fn each_kind_is_suspended_where_its_switch_is_and_one_without_it_is_evicted() {
    let owner = |api_version: &str, kind: &str| OwnerRef {
        api_version: api_version.into(),
        kind: kind.into(),
        key: PodKey::new("ml", "x"),
        uid: "u".into(),
    };
    let metadata = json!({"uid": "u", "annotations": {"gangplank.dev/suspended": "true"}});
    assert_eq!(suspension(&owner("batch/v1", "Job"), true), json!({"metadata": metadata, "spec": {"suspend": true}}));
    let mpi = owner("kubeflow.org/v2beta1", "MPIJob");
    assert_eq!(suspension(&mpi, true), json!({"metadata": metadata, "spec": {"runPolicy": {"suspend": true}}}));
    let resumed =
        json!({"metadata": {"uid": "u", "annotations": {"gangplank.dev/suspended": null}}, "spec": {"runPolicy": {"suspend": false}}});
    assert_eq!(suspension(&mpi, false), resumed);
    // After the patch, as it is read back: with the field, or without where the API server does not know it.
    let object = |policy: Value| {
        let object = json!({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {"runPolicy": policy},
            "metadata": {"name": "x", "uid": "u", "annotations": {"gangplank.dev/suspended": "true"}}});
        Suspends::of(&serde_json::from_value(object).unwrap()).map(|suspends| suspends.by_us)
    };
    assert_eq!(object(json!({"suspend": true, "cleanPodPolicy": "None"})), Some(true));
    assert_eq!(object(json!({"cleanPodPolicy": "None"})), None);
}
