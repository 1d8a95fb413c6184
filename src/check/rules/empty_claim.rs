//! `claim-never-written`: a new volume that nobody may write to.

use super::{Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "claim-never-written",
    finds: "A PersistentVolumeClaim with ReadOnlyMany as its only access mode, and neither a volume nor a source of data.",
    why: "It asks a storage class for a new, empty volume that can only be read. Many classes refuse it, and the others give an empty one.",
    fix: "`volumeName` of the volume that has the data, or `dataSource`. Where a class hands out existing data it is right: a note.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for claim in input.of("", "PersistentVolumeClaim") {
        let at = claim.at();
        let Some(modes) = at.go("spec.accessModes") else { continue };
        let only = modes.items().iter().all(|mode| mode.text() == Some("ReadOnlyMany"));
        let source = ["volumeName", "dataSource", "dataSourceRef", "selector"]
            .iter()
            .any(|key| at.go("spec").is_some_and(|spec| spec.get(key).is_some()));
        if only && !source {
            let problem = "a new volume that can only be read is empty";
            found.push(Found::new(Level::Note, &modes, problem, "name volumeName or dataSource"));
        }
    }
    found
}
