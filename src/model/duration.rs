//! Durations as people write them in annotations: `90s`, `45m`, `1h30m`, `2d`, or plain seconds.

use std::time::Duration;

/// No job takes a hundred years.
const SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// A duration above zero; none for anything else.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok()? } else { parts(text)? };
    (1..=SECONDS_MAX).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Numbers, each with its unit, the larger units first.
fn parts(text: &str) -> Option<u64> {
    let (mut seconds, mut rest, mut smallest) = (0_u64, text, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes().get(digits)? {
            b'd' => 86_400,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        if unit >= smallest {
            return None;
        }
        (seconds, smallest, rest) = (seconds.checked_add(number.checked_mul(unit)?)?, unit, &rest[digits + 1..]);
    }
    Some(seconds)
}

/// The same the other way round, in the two largest units: nobody needs the seconds of a week.
#[cfg(feature = "io")]
pub(crate) fn text(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, letter) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
        if rest >= unit {
            parts.push(format!("{}{letter}", rest / unit));
            rest %= unit;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in
            [("90s", 90), ("45m", 2700), ("1h30m", 5400), ("2d", 172_800), ("1d2h3m4s", 93_784), ("3600", 3600), (" 5m ", 300)]
        {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "m", "5", "-5m", "1.5h", "5m1h", "5 m", "1h1h", "99999999999999999999s", "10w", "é"] {
            assert_eq!(parse(text).is_some(), text == "5", "{text}");
        }
    }

    #[cfg(feature = "io")]
    #[test]
    fn durations_are_written_in_their_two_largest_units() {
        for (seconds, written) in [(0, "0s"), (59, "59s"), (90, "1m30s"), (3600, "1h"), (3601, "1h"), (9000, "2h30m"), (180_061, "2d2h")] {
            assert_eq!(text(Duration::from_secs(seconds)), written);
        }
    }
}
