//! The number that says how good a trial is, read from what it said last. Logs are a stranger's: only so many of their last
//! bytes are looked at, by an expression that takes time in proportion to them, and what is no number is no metric.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::policy::Mistake;
use crate::recipe::text;

/// The number that says how good a trial is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MetricFile {
    /// What it is called, such as val_loss: a trial says `val_loss=0.25`, `val_loss: 0.25` or `"val_loss": 0.25`.
    name: String,
    /// Whether less of it is better, or more.
    goal: Goal,
    /// Where it stands: in the logs, or in the file that METRICS_FILE names, of at most 4 KiB. What is said last counts.
    #[serde(default)]
    from: Source,
    /// A regular expression that finds it otherwise; its first group is the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
}

/// Which metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Less is better.
    Minimize,
    /// More is better.
    Maximize,
}

impl Goal {
    /// Better ones first.
    pub fn order(self, a: f64, b: f64) -> Ordering {
        match self {
            Self::Minimize => a.total_cmp(&b),
            Self::Maximize => b.total_cmp(&a),
        }
    }
}

/// Where a metric stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In the logs of the first worker.
    #[default]
    Logs,
    /// In the file that METRICS_FILE names. Kubernetes keeps it in the pod's status.
    File,
}

/// A checked metric.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What it is called.
    pub name: String,
    /// Which is better.
    pub goal: Goal,
    /// Where it stands.
    pub from: Source,
    pattern: Regex,
}

impl MetricFile {
    pub(super) fn check(self) -> Result<Metric, Mistake> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./@".contains(&byte);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(fine) {
            let problem = format!("`{}` is not the name of a metric", text::cut(&self.name));
            return Err(Mistake::new("name", problem, "write letters, digits and _-./@, such as val_loss"));
        }
        let plain = || format!(r#"(?:^|[^\w./@-]|\x1b\[[\d;]*m)"?{}"?\s*[=:]\s*([-+.\w]+)"#, regex::escape(&self.name));
        let written = self.pattern.clone().unwrap_or_else(plain);
        let wrong = |problem: &str| Mistake::new("pattern", problem, r"write such as 'val_loss (\S+)', with the number as first group");
        if written.len() > PATTERN_BYTES_MAX {
            return Err(wrong("is longer than 512 bytes"));
        }
        let built = RegexBuilder::new(&written).multi_line(true).size_limit(COMPILED_BYTES_MAX).build();
        let pattern = built.map_err(|_| wrong("is no regular expression that can be used"))?;
        if pattern.captures_len() < 2 {
            return Err(wrong("has no group"));
        }
        Ok(Metric { name: self.name, goal: self.goal, from: self.from, pattern })
    }
}

impl Metric {
    /// What was said last; none if it is no finite number, whatever was said before: a trial that ends with `nan` has diverged.
    pub fn read(&self, said: &[u8]) -> Option<f64> {
        let begin = said.len().saturating_sub(LOOKED_AT_BYTES_MAX);
        let text = String::from_utf8_lossy(&said[begin..]);
        let last = self.pattern.captures_iter(&text).last()?;
        let number: f64 = last.get(1)?.as_str().trim().trim_end_matches('.').parse().ok()?;
        number.is_finite().then_some(number)
    }
}

const NAME_BYTES_MAX: usize = 128;
const PATTERN_BYTES_MAX: usize = 512;
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// How much of what a trial said is looked at, from its end.
pub const LOOKED_AT_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(pattern: Option<&str>) -> Metric {
        let pattern = pattern.map(str::to_owned);
        MetricFile { name: "val_loss".into(), goal: Goal::Minimize, from: Source::Logs, pattern }.check().unwrap()
    }

    #[test]
    fn what_was_said_last_counts_however_it_is_written() {
        for (said, value) in [
            ("val_loss=0.5\nval_loss=0.25\n", Some(0.25)),
            ("epoch 3: loss=9, val_loss: 1e-3", Some(0.001)),
            (r#"{"epoch": 3, "val_loss": 2.5, "lr": 1}"#, Some(2.5)),
            ("\x1b[32mval_loss = -3\x1b[0m done", Some(-3.0)),
            ("val_loss=.5", Some(0.5)),
            ("val_loss=2 val_loss=1", Some(1.0)),
            ("the end: val_loss=0.5.", Some(0.5)),
            ("my_val_loss=1\nval_loss_ema=2\nval.val_loss=3", None),
            ("val_loss=0.5\nval_loss=nan", None),
            ("val_loss=0.5\nval_loss=inf", None),
            ("val_loss=1.2.3", None),
            ("val_loss=1e999", None),
            ("val_loss=", None),
            ("", None),
        ] {
            assert_eq!(metric(None).read(said.as_bytes()), value, "{said:?}");
        }
        assert_eq!(metric(Some(r"^final (\S+)$")).read(b"final 7\nsomething\n"), Some(7.0));
        assert_eq!(metric(Some(r"^final (\S+)$")).read(b"final seven\n"), None);
    }

    #[test]
    fn hostile_logs_cost_no_more_than_their_end() {
        let mut said = b"val_loss=0.5\n".to_vec();
        said.extend(std::iter::repeat_n(b'v', 3 << 20));
        assert_eq!(metric(None).read(&said), None, "too long ago");
        said.extend(b"\xff\xfe val_loss=0.125 \xff");
        assert_eq!(metric(None).read(&said), Some(0.125), "bytes that are no text are passed over");
        let nested = "a".repeat(LOOKED_AT_BYTES_MAX);
        assert_eq!(metric(Some("(a*)*b")).read(nested.as_bytes()), None);
        // The end may begin within a letter of several bytes.
        let accents = "é".repeat(LOOKED_AT_BYTES_MAX);
        assert_eq!(metric(None).read(format!("{accents}x val_loss=1").as_bytes()), Some(1.0));
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_refused() {
        for pattern in ["(", "val_loss", &"(a)".repeat(200), r"(\w{1000}){1000}"] {
            let file = MetricFile { name: "m".into(), goal: Goal::Maximize, from: Source::File, pattern: Some(pattern.to_owned()) };
            assert!(format!("{:?}", file.check().unwrap_err()).contains("\"pattern\""), "{pattern}");
        }
        for name in ["", "a b", "a\n", "{{x}}", &"m".repeat(129)] {
            let file = MetricFile { name: name.to_owned(), goal: Goal::Maximize, from: Source::File, pattern: None };
            assert!(format!("{:?}", file.check().unwrap_err()).contains("\"name\""), "{name}");
        }
    }
}
