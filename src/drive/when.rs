//! Times as Kubernetes writes them: RFC 3339, in UTC, in whole seconds.

use crate::model::Time;

const DAY_SECONDS: u64 = 86_400;

/// `2026-01-01T00:00:00Z`.
pub(super) fn text(time: Time) -> String {
    let seconds = time.unix_ms() / 1000;
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let rest = seconds % DAY_SECONDS;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// None for anything else, and before 1970. Parts of seconds are passed over; other zones than UTC are not written by API servers, and people's
/// are taken for none.
pub(super) fn parse(text: &str) -> Option<Time> {
    let (date, rest) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let clock = rest.split_once('.').map_or(rest, |(clock, _)| clock);
    let mut clock = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days(year, month, day);
    (date.next().is_none() && clock.next().is_none() && self::date(days) == (year, month, day))
        .then(|| Time::from_unix_ms((days * DAY_SECONDS + hour * 3600 + minute * 60 + second) * 1000))
}

/// Days since 1970-01-01, by years that begin in March: the odd day is the last one then.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (cycle, in_cycle) = (year / 400, year % 400);
    cycle * 146_097 + in_cycle * 365 + in_cycle / 4 - in_cycle / 100 + of_year - 719_468
}

/// The same the other way round.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, of_cycle) = (days / 146_097, days % 146_097);
    let in_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * in_cycle + in_cycle / 4 - in_cycle / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + in_cycle + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        for (unix_s, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = Time::from_unix_ms(unix_s * 1000);
            assert_eq!(text(time), written);
            assert_eq!(parse(written), Some(time));
        }
        assert_eq!(parse("2025-12-31T23:59:59.123456Z"), parse("2025-12-31T23:59:59Z"));
        for day in 0..80_000 {
            let time = Time::from_unix_ms(day * DAY_SECONDS * 1000);
            assert_eq!(parse(&text(time)), Some(time), "{day}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "Z", "2026-01-01", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+01:00", "1969-01-01T00:00:00Z"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
