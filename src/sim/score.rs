//! In-tree scores, so far as they decide where pods without preferences go: NodeResourcesFit's LeastAllocated.

use super::{NodeView, SimPod};

/// 0..=100: how empty CPU and memory of the node would be, averaged. Pods that name no request count as
/// 100 thousandths of a core and 200 MB here, as kube-scheduler counts them for scoring only.
pub(super) fn least_allocated(pod: &SimPod, view: &NodeView<'_>) -> i64 {
    let cpu = free_share(view.node.node.cpu_milli, view.usage.cpu_milli, or(pod.pod.cpu_milli, CPU_MILLI_ASSUMED));
    let memory = free_share(view.node.node.memory_bytes, view.usage.memory_bytes, or(pod.pod.memory_bytes, MEMORY_BYTES_ASSUMED));
    i64::try_from(u64::midpoint(cpu, memory)).unwrap_or(0)
}

fn free_share(capacity: u64, used: u64, asked: u64) -> u64 {
    let left = capacity.saturating_sub(used.saturating_add(asked));
    if capacity == 0 { 0 } else { u64::try_from(u128::from(left) * 100 / u128::from(capacity)).unwrap_or(0) }
}

fn or(asked: u64, assumed: u64) -> u64 {
    if asked == 0 { assumed } else { asked }
}

const CPU_MILLI_ASSUMED: u64 = 100;
const MEMORY_BYTES_ASSUMED: u64 = 200 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::super::predicate::fixture::{node, pod};
    use super::super::{NodeView, Usage};
    use super::*;

    #[test]
    fn the_emptier_node_scores_higher_and_a_full_one_scores_nothing() {
        let node = node("n1");
        let score = |cpu_milli, memory_bytes| {
            least_allocated(&pod("a"), &NodeView { node: &node, usage: &Usage { cpu_milli, memory_bytes, ..Usage::default() } })
        };
        assert_eq!(score(0, 0), 98);
        assert_eq!(score(4_000, 0), 73);
        assert_eq!(score(8_000, u64::MAX), 0);
    }
}
