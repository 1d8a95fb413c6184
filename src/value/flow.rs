//! How much of what pods take of devices comes back: whether there is room to come beside what is free now.

/// Thousandths of devices that were taken and that came back, of late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    taken_milli: u64,
    freed_milli: u64,
}

/// How far to look ahead: until the cluster is full, or much of it has changed hands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Horizon {
    /// Free device milli, and those expected to come back meanwhile.
    pub offered_milli: f64,
    /// The part of what is in use that comes back meanwhile.
    pub turnover: f64,
}

/// The part of what is in use that a horizon waits for at most.
const TURNOVER_MAX: f64 = 0.5;

impl Flow {
    /// A node's free device milli changed; older changes fade once as much was taken as there is in all.
    pub fn note(&mut self, idle_before: u64, idle_after: u64, capacity_milli: u64) {
        self.taken_milli += idle_before.saturating_sub(idle_after);
        self.freed_milli += idle_after.saturating_sub(idle_before);
        if self.taken_milli.max(self.freed_milli) > capacity_milli {
            self.taken_milli /= 2;
            self.freed_milli /= 2;
        }
    }

    /// Pods fill what is free and what others leave. If a part `r` of what is taken comes back, `idle / (1 - r)` is
    /// taken until nothing is free: `idle` where nobody leaves, and without end where as many leave as come.
    pub fn horizon(&self, idle_milli: u64, capacity_milli: u64) -> Horizon {
        let (idle, busy) = (idle_milli as f64, capacity_milli.saturating_sub(idle_milli) as f64);
        let returned = if self.taken_milli == 0 { 0.0 } else { (self.freed_milli as f64 / self.taken_milli as f64).min(1.0) };
        let most = TURNOVER_MAX * busy;
        let back = if returned < 1.0 { (idle * returned / (1.0 - returned)).min(most) } else { most };
        Horizon { offered_milli: idle + back, turnover: if busy > 0.0 { back / busy } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_is_what_is_free_until_pods_leave_and_no_more_than_half_of_what_is_in_use_then() {
        let mut flow = Flow::default();
        flow.note(8000, 3000, 100_000);
        assert_eq!(flow.horizon(20_000, 100_000), Horizon { offered_milli: 20_000.0, turnover: 0.0 });
        flow.note(3000, 5500, 100_000);
        assert_eq!(flow.horizon(20_000, 100_000), Horizon { offered_milli: 40_000.0, turnover: 0.25 }, "half of what is taken comes back");
        flow.note(0, 2500, 100_000);
        assert_eq!(flow.horizon(20_000, 100_000), Horizon { offered_milli: 60_000.0, turnover: 0.5 });
        assert_eq!(flow.horizon(0, 0), Horizon::default());
    }

    #[test]
    fn what_was_long_ago_fades() {
        let mut flow = Flow::default();
        flow.note(0, 50_000, 100_000);
        (0..20).for_each(|_| flow.note(30_000, 0, 100_000));
        assert!(flow.horizon(10_000, 100_000).turnover < 0.01, "{flow:?}");
    }
}
