//! `quota-never-counted`: a line of a quota that nothing is ever counted against.

use super::{Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "quota-never-counted",
    finds: "`limits.` of an extended resource, such as `limits.nvidia.com/gpu`, in a ResourceQuota.",
    why: "Kubernetes counts extended resources by their requests alone. The line stays at 0 used whatever runs, and a quota that has no other limits nothing.",
    fix: "`requests.nvidia.com/gpu`, and leave the other out. It does no harm beside it, so it is a note, and `--fix` leaves it.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for quota in input.of("", "ResourceQuota") {
        let Some(hard) = quota.at().go("spec.hard") else { continue };
        for (key, amount) in hard.entries() {
            let Some(resource) = key.text().and_then(|key| key.strip_prefix("limits.")).filter(|resource| resource.contains('/')) else {
                continue;
            };
            let counted = format!("requests.{resource}");
            let level = if hard.get(&counted).is_some() { Level::Note } else { Level::Error };
            found.push(Found::new(level, &amount, "Kubernetes never counts this line", format!("write {counted} alone")));
        }
    }
    found
}
