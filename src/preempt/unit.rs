//! What may be taken as one, and what taking it costs.

use std::cmp::Reverse;
use std::iter::Sum;
use std::ops::Add;

use crate::model::{Pod, PodUid, Time};

/// What goes together or stays together: a whole gang, a pod above the minimum of an elastic gang, or a pod alone. Units
/// may share pods: a gang as a whole, and each of its pods above the minimum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// For people: `gang ns/train`, `pod ns/web-0`.
    pub title: String,
    /// Its pods, each with a holder in the book.
    pub pods: Vec<PodUid>,
    /// How high one must reach to take it.
    pub reach: Reach,
    /// Work that is lost with it, in thousandths of accelerator-seconds.
    pub lost_ms: u64,
    /// Disruption budgets that its pods are under, by place in [`super::Ask::allowances`], and how many of its pods each
    /// covers.
    pub budgets: Vec<(usize, u32)>,
}

impl Unit {
    /// What taking it costs.
    pub fn cost(&self) -> Cost {
        Cost { lost_ms: self.lost_ms, pods: u32::try_from(self.pods.len()).unwrap_or(u32::MAX) }
    }
}

/// How high a preemptor reaches for a victim: whatever is lower is taken first, however much more of it there must be.
/// The tier comes first: rules give each reason to be taken one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    /// Which rule allows it; see [`super::rules`].
    pub tier: u8,
    /// The highest priority among its pods.
    pub priority: i32,
    /// Its rank in its queue's order, where that lets it be taken: the last of the order goes first.
    pub behind: Reverse<u128>,
}

/// What victims cost, compared in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Lost work, in thousandths of accelerator-seconds.
    pub lost_ms: u64,
    /// Pods that go.
    pub pods: u32,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lost_ms: self.lost_ms.saturating_add(other.lost_ms), pods: self.pods.saturating_add(other.pods) }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// Work that would be lost with a pod that holds so many thousandths of devices: since it last saved its work, else since it
/// started. What it says of the time before it started, or of the future, is not believed.
pub fn lost_ms(pod: &Pod, devices_milli: u64, now: Time) -> u64 {
    let since = pod.last_checkpoint.filter(|saved| *saved <= now).map_or(pod.started_at, |saved| saved.max(pod.started_at));
    let span_ms = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
    span_ms.saturating_mul(devices_milli) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::pod;

    #[test]
    fn lost_work_counts_from_the_last_checkpoint_that_can_be_believed() {
        let at = |seconds: u64| Time::from_unix_ms(1000 * seconds);
        let lost = |saved: Option<u64>| {
            let pod = Pod { started_at: at(100), last_checkpoint: saved.map(at), ..pod("p") };
            lost_ms(&pod, 8_000, at(160))
        };
        assert_eq!(lost(None), 480_000, "eight devices for a minute");
        assert_eq!(lost(Some(130)), 240_000);
        assert_eq!(lost(Some(50)), 480_000, "saved before it started: by the one before it");
        assert_eq!(lost(Some(161)), 480_000, "saved in the future");
        assert_eq!(lost_ms(&pod("p"), 500, at(1)), 500, "half a device for a second");
    }

    #[test]
    fn lost_work_comes_before_the_number_of_pods() {
        let cost = |lost_ms, pods| Cost { lost_ms, pods };
        assert!(cost(1, 9) < cost(2, 1) && cost(1, 1) < cost(1, 2));
        assert_eq!([cost(u64::MAX, 1), cost(1, 1)].into_iter().sum::<Cost>(), cost(u64::MAX, 2));
    }
}
