//! What came of a run: completion times, waits, and what preemption cost.

/// Of all jobs that ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// From arrival to end, ascending.
    pub jct_s: Vec<u64>,
    /// Of that, without devices: before the first start and between runs; ascending.
    pub wait_s: Vec<u64>,
    /// The longest wait in one piece.
    pub longest_wait_s: u64,
    /// When the last one ended.
    pub makespan_s: u64,
    /// Percent of all GPUs held, until then.
    pub in_use_pct: f64,
    /// The same as an amount.
    pub used_gpu_s: u64,
    /// How often a job was started.
    pub starts: u64,
    /// How often one was taken off its nodes.
    pub preemptions: u64,
    /// By job: when it first started and when it ended; none of those that never ended.
    pub spans_s: Vec<Option<(u64, u64)>>,
    /// Jobs that never ended: they fit nowhere.
    pub never_ended: usize,
}

impl Figures {
    /// The mean completion time.
    pub fn jct_avg_s(&self) -> f64 {
        mean(&self.jct_s)
    }

    /// The completion time at the 99th percentile, by nearest rank.
    pub fn jct_p99_s(&self) -> u64 {
        p99(&self.jct_s)
    }

    /// The mean wait.
    pub fn wait_avg_s(&self) -> f64 {
        mean(&self.wait_s)
    }

    /// The wait at the 99th percentile.
    pub fn wait_p99_s(&self) -> u64 {
        p99(&self.wait_s)
    }

    /// The longest wait of a job, all its waits together.
    pub fn wait_max_s(&self) -> u64 {
        self.wait_s.last().copied().unwrap_or(0)
    }
}

fn mean(values: &[u64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<u64>() as f64 / values.len() as f64 }
}

fn p99(ascending: &[u64]) -> u64 {
    let rank = (ascending.len() * 99).div_ceil(100).saturating_sub(1);
    ascending.get(rank).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_nearest_ranks_and_nothing_is_zero() {
        let figures = Figures { jct_s: (1..=200).collect(), wait_s: vec![3, 5], ..Figures::default() };
        assert_eq!((figures.jct_p99_s(), figures.wait_p99_s(), figures.wait_max_s()), (198, 5, 5));
        assert!((figures.jct_avg_s() - 100.5).abs() < 1e-9);
        assert_eq!((Figures::default().jct_p99_s(), Figures::default().wait_max_s()), (0, 0));
    }
}
