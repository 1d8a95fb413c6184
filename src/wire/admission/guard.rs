//! What only some may write: the annotations that record a grant, and the label that opts a namespace in.

use serde_json::{Map, Value};

use super::{Asked, Rules, Verdict, template};
use crate::wire::annotations;

/// The label that puts a namespace into Gangplank's hands.
const OPT_IN: &str = "gangplank.dev/managed";

/// Whether a user may `manage` the namespace: a question that the cluster answers (a SubjectAccessReview on `namespaces.gangplank.dev`).
#[derive(Clone, Debug, PartialEq)]
pub struct AccessQuestion {
    /// The user as the API server knows them: username, uid, groups, extra.
    pub user_info: Value,
    /// Which namespace.
    pub namespace: String,
    /// What the user is told if not.
    pub refusal: String,
}

/// Why the request may not touch the annotations that it touches. Whatever is left as it is passes, so that kubelet and controllers
/// go on writing status.
pub(super) fn grant_annotations(asked: &Asked<'_>, rules: &Rules) -> Option<String> {
    if rules.writers.iter().any(|writer| writer == asked.user) {
        return None;
    }
    let empty = Map::new();
    let [now, before] = [asked.object, asked.old_object].map(|object| annotations_of(asked.kind, object).unwrap_or(&empty));
    let altered = now.keys().chain(before.keys()).find(|key| records_a_grant(key) && now.get(*key) != before.get(*key))?;
    Some(format!(
        "'{}' may not set, change or remove the annotation {altered}: it records what Gangplank granted, and only Gangplank writes it; leave \
         it as it is, or out of the manifest. To ask for devices, use resource limits such as 'nvidia.com/gpu: 1'",
        asked.user
    ))
}

/// Who may opt a namespace in or out.
pub(super) fn namespace_label(asked: &Asked<'_>, rules: &Rules) -> Verdict {
    let [now, before] = [asked.object, asked.old_object].map(|object| object.get("metadata")?.get("labels")?.get(OPT_IN));
    let groups = asked.user_info.get("groups").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if now == before || groups.iter().any(|group| rules.operators.iter().any(|operators| group == operators.as_str())) {
        return Verdict::YES;
    }
    Verdict::Ask(AccessQuestion {
        user_info: asked.user_info.clone(),
        namespace: asked.name.to_owned(),
        refusal: format!(
            "'{}' may not set, change or remove the namespace label {OPT_IN}: it decides whether Gangplank schedules the namespace's \
             accelerator pods; ask a cluster operator to do it, or to grant you the verb 'manage' on namespaces.gangplank.dev (ClusterRole \
             gangplank-namespace-operator)",
            asked.user
        ),
    })
}

/// Of the pod, of the template's pods, or of the binding, whose annotations land on the pod.
fn annotations_of<'a>(kind: &str, object: &'a Value) -> Option<&'a Map<String, Value>> {
    object.pointer(template::path(kind).unwrap_or_default())?.get("metadata")?.get("annotations")?.as_object()
}

fn records_a_grant(key: &str) -> bool {
    matches!(key, annotations::DEVICES | annotations::PLAN | annotations::RANK | annotations::TOUCHED)
        || key.starts_with(annotations::ENV_PREFIX)
}
