//! `mount-without-volume`: a container mounts what the pod does not have.

use std::collections::BTreeSet;

use serde_json::json;

use super::{At, Edit, Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "mount-without-volume",
    finds: "A `volumeMounts` name that no volume of the pod has; claims that a StatefulSet or a workflow makes count.",
    why: "The API server refuses the pod. Of a Job, a Deployment or a workflow one sees only that no pod appears.",
    fix: "The volume. `--fix` writes a claim of the same name, which waits visibly if there is none; an emptyDir would lose what is written.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        let object = pod.spec.object;
        let root = object.at();
        let flow = object.group == "argoproj.io";
        // Other kinds may bring volumes of their own.
        if !pod.plain && !flow {
            continue;
        }
        let mut names: BTreeSet<&str> = pod.spec.all("volumes").iter().filter_map(|volume| volume.text_at("name")).collect();
        let holder = if !flow {
            Some(pod.spec.clone())
        } else if object.kind == "CronWorkflow" {
            root.go("spec.workflowSpec")
        } else {
            root.go("spec")
        };
        let Some(holder) = holder else { continue };
        let made = ["volumes", "volumeClaimTemplates"].map(|list| holder.all(list));
        names.extend(made.iter().flatten().filter_map(|volume| volume.text_at("name").or_else(|| volume.text_at("metadata.name"))));
        let templates = root.all("spec.volumeClaimTemplates");
        names.extend(templates.iter().filter_map(|claim| claim.text_at("metadata.name")));
        let mounts: Vec<At<'_>> = pod.containers().iter().flat_map(|container| container.all("volumeMounts")).collect();
        for name in mounts.iter().filter_map(|mount| mount.get("name")) {
            let written = name.text().unwrap_or_default();
            if names.contains(written) || written.is_empty() {
                continue;
            }
            let volume = json!({"name": written, "persistentVolumeClaim": {"claimName": written}});
            let edit = Edit::item_of(input.text(&name), holder.node, "volumes", &volume);
            let fix = format!("add a volume `{written}`");
            found.push(Found::new(Level::Error, &name, format!("there is no volume `{written}`: the pod is refused"), fix).edits(edit));
        }
    }
    found
}
