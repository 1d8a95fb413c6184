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
}
