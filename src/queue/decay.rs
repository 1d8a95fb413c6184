//! What was had of late: accelerator time of which the older part counts less. Whole numbers only, so that any machine, and any
//! replay of the same inputs, comes to the same sums.

use std::time::Duration;

use crate::model::Time;

/// Steps in which a half-life is made: between two of them nothing decays.
const STEPS: u128 = 64;
/// 2^(-1/64), in 1/2^32.
const FACTOR: u128 = 4_248_701_965;
/// After so many half-lives nothing is left of anything.
const HALF_LIVES_MAX: u64 = 128;

/// Thousandths of devices multiplied by milliseconds, decayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Had(u128);

impl Had {
    /// As it is compared.
    pub(super) fn milli_ms(self) -> u128 {
        self.0
    }

    /// So much was held over a span that ends, or not, with a step.
    pub(super) fn add(&mut self, held_milli: u64, span: Span) {
        self.0 += u128::from(held_milli) * u128::from(span.ms);
        if span.decays {
            self.0 = (self.0 * FACTOR) >> 32;
        }
    }
}

/// A part of the time that passed, in which nothing decays but perhaps at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    ms: u64,
    decays: bool,
}

/// Between two instants at which things decay.
pub(super) fn step_ms(half_life: Duration) -> u128 {
    (half_life.as_millis() / STEPS).max(1)
}

/// The time from one instant to another, cut where things decay: at instants that do not depend on when anybody looks.
pub(super) fn spans(from: Time, to: Time, half_life: Duration) -> impl Iterator<Item = Span> {
    let half_life_ms = u64::try_from(half_life.as_millis()).unwrap_or(u64::MAX);
    let step_ms = u64::try_from(step_ms(half_life)).unwrap_or(u64::MAX);
    let (to, oldest) = (to.unix_ms(), to.unix_ms().saturating_sub(half_life_ms.saturating_mul(HALF_LIVES_MAX)));
    let mut at = from.unix_ms().max(oldest);
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let border = (at / step_ms + 1) * step_ms;
        let until = border.min(to);
        let span = Span { ms: until - at, decays: until == border };
        at = until;
        Some(span)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn had(marks: &[u64], held_milli: u64) -> u128 {
        let mut had = Had::default();
        for pair in marks.windows(2) {
            for span in spans(Time::from_unix_ms(pair[0]), Time::from_unix_ms(pair[1]), HOUR) {
                had.add(held_milli, span);
            }
        }
        had.milli_ms()
    }

    #[test]
    fn what_was_had_halves_in_a_half_life() {
        let mut had = Had(1_000_000_000_000);
        for span in spans(Time::from_unix_ms(0), Time::from_unix_ms(3_600_000), HOUR) {
            had.add(0, span);
        }
        assert!((499_999_990_000..=500_000_010_000).contains(&had.milli_ms()), "{had:?}");
    }

    #[test]
    fn it_does_not_matter_how_often_anybody_looks() {
        let end = 5 * 3_600_000 + 17;
        let seldom = had(&[3, end], 8000);
        let often: Vec<u64> = (0..end / 977).map(|at| 3 + at * 977).chain([end]).collect();
        assert_eq!(had(&often, 8000), seldom);
    }

    #[test]
    fn what_is_held_for_long_comes_to_a_half_life_by_the_logarithm_of_two() {
        let steady = had(&[0, 60 * 3_600_000], 1000) as f64;
        let expected = 1000.0 * 3_600_000.0 / std::f64::consts::LN_2;
        assert!((steady / expected - 1.0).abs() < 0.01, "{steady} {expected}");
    }
}
