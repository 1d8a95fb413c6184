//! `selector-matches-nothing`: a Service, a policy or a monitor of pods that nothing makes.

use std::collections::BTreeMap;

use super::super::manifest::Object;
use super::{At, Found, Input, Level, Rule, selects};

pub(super) const RULE: Rule = Rule {
    id: "selector-matches-nothing",
    finds: "A Service, NetworkPolicy or PodDisruptionBudget that selects none of the pods in these files, a ServiceMonitor that selects none of their Services, and a Deployment or StatefulSet that does not select its own pods.",
    why: "A Service without pods refuses connections; a policy or a budget protects nothing; nothing is scraped, and no alert fires. The API server refuses a Deployment that does not select its own template.",
    fix: "The labels of the pods. Which of the two is wrong is yours to say: `--fix` leaves it. Where these files have no pods at all, nothing is said.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let pods: Vec<_> = input.pods().into_iter().map(|pod| (pod.spec.object, super::affinity_label::labels(&pod))).collect();
    let services: Vec<(&Object, BTreeMap<String, String>)> = input
        .of("", "Service")
        .map(|service| (service, service.at().go("metadata.labels").map(|at| at.texts()).unwrap_or_default()))
        .collect();
    let mut found = Vec::new();
    for object in &input.objects {
        let at = object.at();
        let (field, others, what) = match (object.group.as_str(), object.kind.as_str()) {
            ("networking.k8s.io", "NetworkPolicy") => ("spec.podSelector", &pods, "pod"),
            ("", "Service") | ("policy", "PodDisruptionBudget") | ("monitoring.coreos.com", "PodMonitor") => {
                ("spec.selector", &pods, "pod")
            }
            ("monitoring.coreos.com", "ServiceMonitor") => ("spec.selector", &services, "Service"),
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet") => {
                found.extend(own(&at, &pods));
                continue;
            }
            _ => continue,
        };
        let Some(selector) = at.go(field).filter(|selector| !selector.node.entries().is_empty()) else { continue };
        let elsewhere = at.go("spec.namespaceSelector").is_some();
        let near: Vec<_> = others.iter().filter(|(other, _)| elsewhere || other.namespace == object.namespace).collect();
        let takes = |labels: &BTreeMap<String, String>| match object.kind.as_str() {
            "Service" => selector.texts().iter().all(|(key, value)| labels.get(key) == Some(value) || given_later(key)),
            _ => selects(&selector, labels),
        };
        if !near.is_empty() && !near.iter().any(|(_, labels)| takes(labels)) {
            let level = if object.kind == "Service" { Level::Error } else { Level::Warning };
            let problem = format!("no {what} in these files has these labels");
            found.push(Found::new(level, &selector, problem, format!("select by labels that the {what}s have")));
        }
    }
    found
}

fn own(at: &At<'_>, pods: &[(&Object, BTreeMap<String, String>)]) -> Option<Found> {
    let selector = at.go("spec.selector")?;
    let (_, labels) = pods.iter().find(|(object, _)| std::ptr::eq(*object, at.object))?;
    let problem = "it does not select its own pods: refused";
    (!selects(&selector, labels)).then(|| Found::new(Level::Error, &selector, problem, "give the template these labels"))
}

/// Labels that controllers give to single pods.
fn given_later(key: &str) -> bool {
    ["statefulset.kubernetes.io/", "batch.kubernetes.io/", "apps.kubernetes.io/", "leaderworkerset.sigs.k8s.io/"]
        .iter()
        .any(|head| key.starts_with(head))
}
