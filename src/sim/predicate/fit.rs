//! NodeResourcesFit: CPU, memory, pod count, and whole numbers of every other resource. Shares are not counted here:
//! both share resources are `ignoredByScheduler`, only the book counts them.

use std::sync::Arc;

use super::{Neighbours, NodeView, SimPod, Unfit};

pub(super) fn check(pod: &SimPod, view: &NodeView<'_>, _: &Neighbours) -> Vec<Unfit> {
    let (node, usage, pod_facts) = (&view.node.node, view.usage, &pod.pod);
    let mut unfit = Vec::new();
    let mut need = |code: &'static str, resource: &str, asked: u64, used: u64, allocatable: u64| {
        if asked > allocatable.saturating_sub(used) {
            // More than the node has at all cannot be cured by eviction.
            unfit.push(Unfit::new(code, text(resource), asked <= allocatable));
        }
    };
    if usage.pods >= node.pods {
        need("too-many-pods", PODS, 1, u64::from(usage.pods), u64::from(node.pods));
    }
    if pod_facts.cpu_milli > 0 {
        need("insufficient-cpu", "cpu", pod_facts.cpu_milli, usage.cpu_milli, node.cpu_milli);
    }
    if pod_facts.memory_bytes > 0 {
        need("insufficient-memory", "memory", pod_facts.memory_bytes, usage.memory_bytes, node.memory_bytes);
    }
    for resource in pod_facts.request.resources() {
        let used = usage.whole.get(resource).copied().unwrap_or(0);
        let asked = u64::from(pod_facts.request.whole_of(resource));
        need("insufficient-devices", resource.as_str(), asked, used, view.allocatable_of(resource));
    }
    for (resource, asked) in pod.extra.iter().filter(|(_, asked)| **asked > 0) {
        let amount = |map: &std::collections::BTreeMap<Arc<str>, u64>| map.get(resource).copied().unwrap_or(0);
        need("insufficient-resource", resource, *asked, amount(&usage.extra), amount(&view.node.extra));
    }
    unfit
}

fn text(resource: &str) -> String {
    if resource == PODS { "Too many pods".into() } else { format!("Insufficient {resource}") }
}

const PODS: &str = "pods";

#[cfg(test)]
mod tests {
    use super::super::super::Usage;
    use super::super::fixture::{node, node_with, pod, pod_with, texts};
    use super::*;

    #[test]
    fn exactly_full_fits_and_one_more_does_not() {
        for (cpu_milli, memory_bytes, expected) in [
            (8_000, 32 << 30, &[][..]),
            (8_001, 32 << 30, &["Insufficient cpu"]),
            (8_000, (32 << 30) + 1, &["Insufficient memory"]),
            (9_000, 64 << 30, &["Insufficient cpu", "Insufficient memory"]),
        ] {
            let mut pod = pod("a");
            pod.pod.cpu_milli = cpu_milli;
            pod.pod.memory_bytes = memory_bytes;
            assert_eq!(texts("NodeResourcesFit", &pod, &node("n1")), expected);
        }
    }

    #[test]
    fn devices_are_counted_as_whole_numbers() {
        let gpus = node_with("n1", "nvidia.com/gpu", 8);
        assert!(texts("NodeResourcesFit", &pod_with("a", "nvidia.com/gpu", 8), &gpus).is_empty());
        assert_eq!(texts("NodeResourcesFit", &pod_with("a", "nvidia.com/gpu", 9), &gpus), ["Insufficient nvidia.com/gpu"]);
        assert_eq!(texts("NodeResourcesFit", &pod_with("a", "google.com/tpu", 1), &gpus), ["Insufficient google.com/tpu"]);
    }

    #[test]
    fn only_what_other_pods_use_can_be_cured_by_eviction() {
        let node = node_with("n1", "nvidia.com/gpu", 8);
        let usage = Usage { whole: [("nvidia.com/gpu".into(), 8)].into(), ..Usage::default() };
        let curable = |count| {
            check(&pod_with("a", "nvidia.com/gpu", count), &NodeView { node: &node, usage: &usage }, &Neighbours::default())[0].curable
        };
        assert!(curable(8));
        assert!(!curable(9));
    }

    #[test]
    fn a_node_full_of_pods_takes_no_more() {
        let node = node("n1");
        let usage = Usage { pods: 110, ..Usage::default() };
        let unfit = check(&pod("a"), &NodeView { node: &node, usage: &usage }, &Neighbours::default());
        assert_eq!(unfit[0].text, "Too many pods");
    }

    #[test]
    fn resources_of_nobodys_class_count_too() {
        let mut node = node("n1");
        node.extra.insert("ephemeral-storage".into(), 5_000);
        let mut pod = pod("a");
        pod.extra.insert("ephemeral-storage".into(), 5_001);
        assert_eq!(texts("NodeResourcesFit", &pod, &node), ["Insufficient ephemeral-storage"]);
    }
}
