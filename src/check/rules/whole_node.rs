//! `big-workers-together`: workers as large as a node, and nothing that gives each a node of its own.

use super::{Edit, Found, Input, Level, Rule, selects};

pub(super) const RULE: Rule = Rule {
    id: "big-workers-together",
    finds: "Workers of one group with eight devices or more each, without anti-affinity among themselves, without topology spread, and without a scheduler that starts a group as one.",
    why: "Each worker needs all devices of a node at the same moment as all others. Placed one by one, some take nodes and wait for the rest, while small pods fill what is left; on nodes of sixteen devices two workers share one network.",
    fix: "`schedulerName: gangplank`, which places all workers at once or none, or anti-affinity by `batch.kubernetes.io/job-name` over `kubernetes.io/hostname`. `--fix` writes the first. With `--gangplank` nothing is wrong.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods().into_iter().filter(|pod| pod.plain && pod.gpus_milli() >= 8000 && !input.facts.gangplank) {
        let Some(job) = pod.group().filter(|job| job.completions > 1) else { continue };
        let mut labels = pod.labels.clone();
        for key in ["job-name", "batch.kubernetes.io/job-name"] {
            labels.insert(key.into(), pod.spec.object.name.clone());
        }
        let way = "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution";
        let apart = pod.spec.all(way).iter().filter_map(|term| term.get("labelSelector")).any(|selector| selects(&selector, &labels));
        let named = pod.scheduler().is_some_and(|name| name != "default-scheduler");
        if apart || named || pod.spec.get("topologySpreadConstraints").is_some() {
            continue;
        }
        let text = input.text(&pod.spec);
        let edit = match pod.spec.get("schedulerName") {
            Some(name) => Some(Edit::replace(text, name.node, &"gangplank".into())),
            None => Edit::insert(text, pod.spec.node, "schedulerName", &"gangplank".into()),
        };
        let problem = format!("{} workers need a node each at the same moment, and are placed one by one", job.completions);
        found.push(Found::new(Level::Warning, &pod.spec, problem, "write schedulerName: gangplank").edits(edit));
    }
    found
}
