//! `not-in-these-files`: a claim, ConfigMap or Secret that others of its kind stand beside.

use std::collections::BTreeSet;

use super::{At, Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "not-in-these-files",
    finds: "A PersistentVolumeClaim, ConfigMap or Secret that a pod names and these files do not have, though they have others of that kind in its namespace.",
    why: "If it is not in the cluster either, the pod stays in Pending or ContainerCreating and its devices are held meanwhile. A name that is misspelt looks just like that.",
    fix: "The right name, or nothing, if it is made elsewhere. It is a note.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        let mut names: Vec<(&str, At<'_>)> = Vec::new();
        for volume in pod.spec.all("volumes") {
            names.extend(volume.go("persistentVolumeClaim.claimName").map(|at| ("PersistentVolumeClaim", at)));
            names.extend(volume.go("configMap.name").map(|at| ("ConfigMap", at)));
            names.extend(volume.go("secret.secretName").map(|at| ("Secret", at)));
        }
        for container in pod.containers() {
            let from = container.all("env").into_iter().filter_map(|variable| variable.get("valueFrom"));
            for from in from.chain(container.all("envFrom")) {
                let maps = ["configMapKeyRef", "configMapRef"].iter().filter_map(|key| from.get(key)).map(|at| ("ConfigMap", at));
                let secrets = ["secretKeyRef", "secretRef"].iter().filter_map(|key| from.get(key)).map(|at| ("Secret", at));
                let needed = maps.chain(secrets).filter(|(_, at)| at.text_at("optional") != Some("true"));
                names.extend(needed.filter_map(|(kind, at)| Some((kind, at.get("name")?))));
            }
        }
        for (kind, name) in names {
            let namespace = &pod.spec.object.namespace;
            let there: BTreeSet<&str> =
                input.of("", kind).filter(|object| object.namespace == *namespace).map(|object| object.name.as_str()).collect();
            let written = name.text().unwrap_or_default();
            if there.is_empty() || there.contains(written) {
                continue;
            }
            let names: Vec<&str> = there.into_iter().collect();
            let near = crate::policy::nearest(written, &names);
            let fix = near.map_or_else(|| "make sure that the cluster has it".to_owned(), |near| format!("did you mean `{near}`?"));
            found.push(Found::new(Level::Note, &name, format!("{kind} `{written}` is not in these files"), fix));
        }
    }
    found
}
