//! Where pods are inside the objects that make them, and an object that is changed and remembers how.

use serde_json::{Map, Value, json};

use crate::model::ContainerRole;

/// Both lists of containers that ask for resources.
pub(super) const LISTS: [(&str, ContainerRole); 2] = [("containers", ContainerRole::Main), ("initContainers", ContainerRole::Init)];

/// The kinds with a pod template, and the path of what has `metadata` and `spec` of the pod.
pub(super) fn path(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some(""),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// The pod's spec inside an object of this kind, wherever it has one.
pub(super) fn spec<'a>(kind: &str, object: &'a Value) -> Option<&'a Value> {
    object.pointer(path(kind)?)?.get("spec")
}

/// The containers of one list, or none.
pub(super) fn containers<'a>(spec: &'a Value, list: &str) -> &'a [Value] {
    spec.get(list).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a container is called, for people.
pub(super) fn name(container: &Value) -> &str {
    container.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// `resources.limits` or `resources.requests` of a container.
pub(super) fn amounts<'a>(container: &'a Value, map: &str) -> Option<&'a Map<String, Value>> {
    container.get("resources")?.get(map)?.as_object()
}

/// An amount as text: the API server writes strings, a raw manifest may hold a number.
pub(super) fn text(amount: &Value) -> String {
    amount.as_str().map_or_else(|| amount.to_string(), str::to_owned)
}

/// An object that is changed step by step, and the JSON patch that does the same.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) object: Value,
    pub(super) patch: Vec<Value>,
}

impl Edited {
    pub(super) fn new(object: &Value) -> Self {
        Self { object: object.clone(), patch: Vec::new() }
    }

    /// Sets a key of the map at `parent`, a pointer; a parent that is no map is left alone.
    pub(super) fn set(&mut self, parent: &str, key: &str, value: &Value) {
        if let Some(map) = self.object.pointer_mut(parent).and_then(Value::as_object_mut) {
            map.insert(key.to_owned(), value.clone());
            self.patch.push(json!({"op": "add", "path": format!("{parent}/{}", escape(key)), "value": value}));
        }
    }

    /// Removes a key of the map at `parent`, if it is there.
    pub(super) fn remove(&mut self, parent: &str, key: &str) {
        if self.object.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|map| map.remove(key)).is_some() {
            self.patch.push(json!({"op": "remove", "path": format!("{parent}/{}", escape(key))}));
        }
    }

    /// Appends to the list `key` of the map at `parent`, which is made where it is missing.
    pub(super) fn append(&mut self, parent: &str, key: &str, value: &Value) {
        if self.object.pointer(parent).is_some_and(|map| map.get(key).is_none_or(Value::is_null)) {
            self.set(parent, key, &json!([]));
        }
        let path = format!("{parent}/{}", escape(key));
        if let Some(list) = self.object.pointer_mut(&path).and_then(Value::as_array_mut) {
            list.push(value.clone());
            self.patch.push(json!({"op": "add", "path": format!("{path}/-"), "value": value}));
        }
    }
}

/// A key as a part of a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
