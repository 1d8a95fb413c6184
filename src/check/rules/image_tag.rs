//! `moving-image`: the same manifest runs another program tomorrow.

use super::{Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "moving-image",
    finds: "An image without a tag, or with `latest` in it, and without a digest.",
    why: "Workers that start later, or again, may run another version than the first ones; a group then speaks two dialects. What ran last month cannot be run again.",
    fix: "A version, better a digest (`image@sha256:...`). Which one is yours to say: `--fix` leaves it.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for image in input.pods().iter().flat_map(super::Pod::containers).filter_map(|container| container.get("image")) {
        let written = image.text().unwrap_or_default();
        // A template fills it in.
        if written.is_empty() || written.contains('@') || written.contains("{{") {
            continue;
        }
        let last = written.rsplit('/').next().unwrap_or(written);
        let problem = match last.split_once(':') {
            None => format!("`{written}` has no tag, which is latest"),
            Some((_, tag)) if tag == "latest" || tag.starts_with("latest-") || tag.ends_with("-latest") => {
                format!("`{tag}` is another image tomorrow")
            }
            Some(_) => continue,
        };
        found.push(Found::new(Level::Warning, &image, problem, "name a version or a digest"));
    }
    found
}
