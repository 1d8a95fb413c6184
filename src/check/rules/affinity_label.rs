//! `affinity-to-nothing`: pods are to be near, or away from, pods that nothing makes.

use std::collections::BTreeMap;

use super::{At, Edit, Found, Input, Level, Pod, Rule, selects};

pub(super) const RULE: Rule = Rule {
    id: "affinity-to-nothing",
    finds: "Pod affinity or anti-affinity whose selector matches no pod of these files; labels that controllers set (`job-name` and the like) count.",
    why: "Anti-affinity then keeps nothing apart: two workers land on one node. Affinity that is required lets the pod wait for a pod that never comes.",
    fix: "Set the label in the pod template, or select by one that is set. For anti-affinity `--fix` sets it. Pods of other files are not seen: it is a warning.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let pods = input.pods();
    let all: Vec<_> = pods.iter().map(|pod| (pod.spec.object.namespace.clone(), labels(pod))).collect();
    let mut found = Vec::new();
    for pod in &pods {
        for (kind, word) in [("podAntiAffinity", "keeps nothing apart"), ("podAffinity", "is near to nothing")] {
            for term in terms(pod, kind) {
                let Some(selector) = term.get("labelSelector") else { continue };
                // Pods of other namespaces may be in other files.
                if term.get("namespaceSelector").is_some() || term.get("namespaces").is_some() || selector.node.entries().is_empty() {
                    continue;
                }
                let near = |(namespace, labels): &(Option<String>, BTreeMap<String, String>)| {
                    *namespace == pod.spec.object.namespace && selects(&selector, labels)
                };
                if all.iter().any(near) {
                    continue;
                }
                let edits = if kind == "podAntiAffinity" { set(input, pod, &selector) } else { Vec::new() };
                let fix = if edits.is_empty() { "select by a label that a pod has" } else { "set the label in the pod's metadata" };
                found.push(Found::new(Level::Warning, &selector, format!("no pod has these labels: it {word}"), fix).edits(edits));
            }
        }
    }
    found
}

fn terms<'a>(pod: &Pod<'a>, kind: &str) -> Vec<At<'a>> {
    let required = pod.spec.all(&format!("affinity.{kind}.requiredDuringSchedulingIgnoredDuringExecution"));
    let preferred = pod.spec.all(&format!("affinity.{kind}.preferredDuringSchedulingIgnoredDuringExecution"));
    required.into_iter().chain(preferred.iter().filter_map(|term| term.get("podAffinityTerm"))).collect()
}

/// Labels as pods have them once their controllers made them; a value that only the cluster knows is left out.
pub(super) fn labels(pod: &Pod<'_>) -> BTreeMap<String, String> {
    let mut labels = pod.labels.clone();
    let object = pod.spec.object;
    let own: &[&str] = match object.kind.as_str() {
        "Job" => &["job-name", "batch.kubernetes.io/job-name"],
        "JobSet" => &["jobset.sigs.k8s.io/jobset-name"],
        "LeaderWorkerSet" => &["leaderworkerset.sigs.k8s.io/name"],
        "PyTorchJob" | "TFJob" | "MPIJob" | "JAXJob" => &["training.kubeflow.org/job-name"],
        "InferenceService" => &["serving.kserve.io/inferenceservice"],
        "RayCluster" => &["ray.io/cluster"],
        "Service" => &["serving.knative.dev/service"],
        _ => &[],
    };
    labels.extend(own.iter().map(|key| ((*key).to_owned(), object.name.clone())));
    labels
}

/// The labels that the selector asks for, set in the pod's metadata.
fn set(input: &Input<'_>, pod: &Pod<'_>, selector: &At<'_>) -> Vec<Edit> {
    let Some(holder) = pod.spec.path.strip_suffix("spec").and_then(|path| pod.spec.object.at().go(path.trim_end_matches('.'))) else {
        return Vec::new();
    };
    let mut wanted = selector.go("matchLabels").map(|labels| labels.texts()).unwrap_or_default();
    for rule in selector.all("matchExpressions") {
        let first = rule.all("values").first().and_then(At::text).map(str::to_owned);
        match (rule.text_at("operator"), rule.text_at("key"), first) {
            (Some("In"), Some(key), Some(value)) => wanted.insert(key.to_owned(), value),
            _ => return Vec::new(),
        };
    }
    // One that says something else is for the author to decide.
    if wanted.keys().any(|key| pod.labels.contains_key(key)) {
        return Vec::new();
    }
    let text = input.text(selector);
    let edit = match (holder.go("metadata.labels"), holder.get("metadata")) {
        (Some(labels), _) => {
            return wanted.iter().filter_map(|(key, value)| Edit::insert(text, labels.node, key, &value.as_str().into())).collect();
        }
        (None, Some(metadata)) => Edit::insert(text, metadata.node, "labels", &serde_json::json!(wanted)),
        (None, None) => Edit::insert(text, holder.node, "metadata", &serde_json::json!({"labels": wanted})),
    };
    edit.into_iter().collect()
}
