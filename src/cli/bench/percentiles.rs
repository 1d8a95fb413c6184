//! Ranks of measured times, and medians of runs.

use std::time::Duration;

/// The time at a rank in hundredths, in microseconds; 0 of nothing.
pub(super) fn percentile_us(times: &mut [Duration], percentile: usize) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * percentile).div_ceil(100).saturating_sub(1);
    times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// The median of what several runs gave; 0 of nothing.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_nearest_ranks() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let mut of = |percentile| format!("{:.0}", percentile_us(&mut times, percentile));
        assert_eq!([of(50), of(99), of(100)], ["100", "198", "200"]);
        assert!(percentile_us(&mut [], 99) < 1.0);
        assert!((1.5..2.5).contains(&median(vec![3.0, 1.0, 2.0])));
    }
}
