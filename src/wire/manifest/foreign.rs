//! Kinds of other projects: a few whose pods are obvious are expanded with a note, the rest is skipped with the reason.

use serde_json::{Value, json};

use super::controllers::{Owner, count};
use super::{ExpandError, Expanded};

pub(super) fn expand(group: &str, kind: &str, object: &Value) -> Result<Expanded, ExpandError> {
    match (group, kind) {
        ("argoproj.io", "Workflow") => workflow(object),
        ("argoproj.io", "Rollout") => rollout(object),
        ("serving.knative.dev", "Service") => knative(object),
        ("serving.kserve.io", "InferenceService") => kserve(object),
        _ if BUILT_IN_GROUPS.contains(&group) || group.ends_with(".k8s.io") && !HOLDS_PODS.contains(&kind) => Ok(Expanded::None),
        _ => Ok(unknown(kind, object)),
    }
}

/// Steps run in an order that is not simulated: all of them at once is the most that the workflow can ask for.
fn workflow(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let templates = object["spec"]["templates"].as_array().map_or(&[][..], Vec::as_slice);
    let step = |template: &Value| {
        let container = [&template["container"], &template["script"]].into_iter().find(|container| container.is_object())?;
        let mut main = container.clone();
        main["name"] = "main".into();
        let step_name = template["name"].as_str().unwrap_or("step");
        let mut spec = json!({"containers": [main]});
        for field in ["nodeSelector", "tolerations", "affinity", "priorityClassName"] {
            let stated = [&template[field], &object["spec"][field]].into_iter().find(|value| !value.is_null());
            if let Some(stated) = stated {
                spec[field] = stated.clone();
            }
        }
        let labels = [("workflows.argoproj.io/workflow", owner.name.as_str())];
        Some(owner.pod(&json!({"metadata": template["metadata"], "spec": spec}), &format!("{}-{step_name}", owner.name), &labels, &[]))
    };
    let pods: Vec<Value> = templates.iter().filter_map(step).collect();
    if pods.is_empty() {
        return Ok(Expanded::Skipped(format!("Workflow {} has no template with a container: its pods cannot be told", owner.name)));
    }
    let note = format!("{} steps, all at the same time: their order is not simulated", pods.len());
    Ok(Expanded::Pods { pods, note: Some(note) })
}

fn rollout(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    if !object["spec"]["template"].is_object() {
        return Ok(Expanded::Skipped(format!("Rollout {} refers to another workload: give that one", owner.name)));
    }
    owner.replicas(&object["spec"]["template"], count(object, &["spec", "replicas"], 1), &[])
}

fn knative(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let template = &object["spec"]["template"];
    let annotation = |key: &str| {
        let annotations = &template["metadata"]["annotations"];
        [format!("autoscaling.knative.dev/{key}")].iter().find_map(|key| annotations[key.as_str()].as_str()?.parse::<u64>().ok())
    };
    let stated = ["initialScale", "initial-scale", "minScale", "min-scale"].into_iter().filter_map(annotation).max();
    let replicas = stated.unwrap_or(1).max(1);
    let set = Owner { kind: "ReplicaSet".into(), api_version: "apps/v1".into(), name: format!("{}-00001-deployment", owner.name), ..owner };
    let mut template = template.clone();
    let containers = template["spec"]["containers"].as_array_mut();
    for container in containers.into_iter().flatten().filter(|container| container["name"].is_null()) {
        container["name"] = "user-container".into();
    }
    Ok(noted(set.replicas(&template, replicas, &[])?, format!("{replicas} pods of one revision, its smallest scale")))
}

fn kserve(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let mut all = Vec::new();
    for component in ["predictor", "transformer", "explainer"] {
        let part = &object["spec"][component];
        let Some(containers) = serving_containers(part) else { continue };
        let replicas = count(part, &["minReplicas"], 1).max(1);
        let name = format!("{}-{component}", owner.name);
        let set = Owner { kind: "ReplicaSet".into(), api_version: "apps/v1".into(), name, namespace: owner.namespace.clone() };
        let mut spec = json!({"containers": containers});
        for field in ["nodeSelector", "tolerations", "affinity", "priorityClassName"] {
            if !part[field].is_null() {
                spec[field] = part[field].clone();
            }
        }
        if let Expanded::Pods { pods, .. } = set.replicas(&json!({"spec": spec}), replicas, &[])? {
            all.extend(pods);
        }
    }
    if all.is_empty() {
        return Ok(Expanded::Skipped(format!("InferenceService {} names a runtime whose containers are in the cluster", owner.name)));
    }
    let count = all.len();
    Ok(Expanded::Pods { pods: all, note: Some(format!("{count} pods, each component at its smallest scale")) })
}

/// `containers` as written, or the one container of a model format (`tensorflow: {resources: ...}`).
fn serving_containers(part: &Value) -> Option<Value> {
    if part["containers"].is_array() {
        return Some(part["containers"].clone());
    }
    let format = part.as_object()?.values().find(|value| value["storageUri"].is_string() || value["resources"].is_object())?;
    Some(json!([{"name": "kserve-container", "resources": format["resources"]}]))
}

fn noted(expanded: Expanded, note: String) -> Expanded {
    match expanded {
        Expanded::Pods { pods, .. } => Expanded::Pods { pods, note: Some(note) },
        other => other,
    }
}

/// Says whether it looks as though there were pods in it.
fn unknown(kind: &str, object: &Value) -> Expanded {
    let places: [(&str, &[&str]); 4] = [
        ("spec.template", &["spec", "template", "spec", "containers"]),
        ("spec.jobTemplate", &["spec", "jobTemplate", "spec", "template", "spec", "containers"]),
        ("spec.replicatedJobs[]", &["spec", "replicatedJobs"]),
        ("spec.containers", &["spec", "containers"]),
    ];
    let held = places.iter().find(|(_, path)| path.iter().fold(object, |value, key| &value[*key]).is_array());
    let replicas = object["spec"]
        .as_object()
        .into_iter()
        .flatten()
        .find(|(key, _)| key.ends_with("ReplicaSpecs"))
        .map(|(key, _)| format!("spec.{key}"));
    match held.map(|(place, _)| (*place).to_owned()).or(replicas) {
        Some(place) => Expanded::Skipped(format!(
            "{kind} is of a controller that is not known here; it holds pods at {place}: give the pods or Jobs that it makes"
        )),
        None => Expanded::None,
    }
}

/// Groups of the API server itself: what holds pods among them is expanded elsewhere.
const BUILT_IN_GROUPS: &[&str] = &["", "apps", "batch", "autoscaling", "policy"];
/// Kinds of *.k8s.io that hold pods after all.
const HOLDS_PODS: &[&str] = &["JobSet", "LeaderWorkerSet"];
