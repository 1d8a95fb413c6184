//! The page of all rules, made from the rules themselves.

use std::fmt::Write;

use super::rules;

/// `docs/checks.md`.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    for rule in rules::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n**What it finds.** {}\n\n**Why it goes wrong.** {}\n\n**The fix.** {}\n",
            rule.id, rule.finds, rule.why, rule.fix
        );
    }
    page
}

const HEAD: &str = "# What `gangplank-provision check` finds

Made from src/check/rules by `UPDATE=1 cargo test --test checks`; change it there. An error is refused, hangs or does something else
than it says; a warning works until something happens; a note depends on what the files do not show. The exit code is 1 if there is an
error, else 0. A rule says nothing where it cannot know.
";
