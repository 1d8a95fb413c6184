//! An error that says what to do, and how an error reads on a terminal: what failed, why, and `hint:` on a line of its own.

use std::fmt;

/// What went wrong, and what the user can do about it.
#[derive(Debug)]
pub struct Advice {
    problem: String,
    hint: String,
}

impl Advice {
    /// `problem` is a sentence without a full stop; so is `hint`, and it says what to do.
    pub fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Advice {}

/// The chain of causes, each once, and the hints on the way.
pub(super) fn render(error: &anyhow::Error) -> String {
    let mut lines = Vec::new();
    let mut hints = Vec::new();
    for (depth, cause) in error.chain().enumerate() {
        let lead = if depth == 0 { "error" } else { "  because" };
        lines.push(format!("{lead}: {cause}"));
        if let Some(advice) = cause.downcast_ref::<Advice>() {
            hints.push(format!("hint: {}", advice.hint));
        }
    }
    lines.append(&mut hints);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_reads_top_down_and_ends_with_what_to_do() {
        let error = Err::<(), _>(Advice::new("no server answers on 127.0.0.1:1", "start one with `gangplank serve`"))
            .context("cannot explain pod ml/a")
            .unwrap_err();
        assert_eq!(
            render(&error),
            "error: cannot explain pod ml/a\n  because: no server answers on 127.0.0.1:1\nhint: start one with `gangplank serve`"
        );
    }
}
