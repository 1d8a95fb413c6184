//! The status of a live spec: what it said before, what it says now, and whether that is worth a write. A condition keeps the time of
//! its last change, so that what has not changed is not written.

use serde_json::{Map, Value, json};

use super::{object, when};
use crate::model::Time;

/// Longer messages are cut: a webhook may say anything.
const MESSAGE_CHARS_MAX: usize = 1024;

/// A status in the making.
pub(super) struct Status<'a> {
    of: &'a Value,
    now: Time,
    fields: Map<String, Value>,
}

impl<'a> Status<'a> {
    /// As it is, of the spec as it is.
    pub(super) fn of(object: &'a Value, now: Time) -> Self {
        let mut fields = object["status"].as_object().cloned().unwrap_or_default();
        fields.insert("observedGeneration".into(), object["metadata"]["generation"].clone());
        Self { of: object, now, fields }
    }

    /// What a field says.
    pub(super) fn get(&self, field: &str) -> &Value {
        self.fields.get(field).unwrap_or(&Value::Null)
    }

    /// Sets a field, or with null takes it away.
    pub(super) fn set(&mut self, field: &str, value: impl Into<Value>) {
        match value.into() {
            Value::Null => drop(self.fields.remove(field)),
            value => drop(self.fields.insert(field.to_owned(), value)),
        }
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition["status"] == "True")
    }

    /// Whether a condition is spoken of.
    pub(super) fn says(&self, kind: &str) -> bool {
        self.condition(kind).is_some()
    }

    /// Says a condition. One that does not hold and never did is not said.
    pub(super) fn say(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let before = self.condition(kind);
        if before.is_none() && !holds && !WORTH_DENYING.contains(&kind) {
            return;
        }
        let status = if holds { "True" } else { "False" };
        let changed = before.is_none_or(|before| before["status"] != status);
        let time = before.filter(|_| !changed).map_or_else(|| json!(when::text(self.now)), |before| before["lastTransitionTime"].clone());
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let said = json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time,
            "observedGeneration": self.get("observedGeneration")});
        let mut all = self.get("conditions").as_array().cloned().unwrap_or_default();
        match all.iter_mut().find(|condition| condition["type"] == kind) {
            // The generation alone is no news of a condition.
            Some(condition) if ["status", "reason", "message"].iter().all(|field| condition[*field] == said[*field]) => {}
            Some(condition) => *condition = said,
            None => all.push(said),
        }
        self.set("conditions", all);
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        self.get("conditions").as_array()?.iter().find(|condition| condition["type"] == kind)
    }

    /// What is to be written; nothing if it is as it was. Only if nobody changed the object meanwhile.
    pub(super) fn written(self) -> Option<Value> {
        let fields = Value::Object(self.fields);
        (self.of["status"] != fields).then(|| {
            let metadata = &self.of["metadata"];
            json!({
                "apiVersion": self.of["apiVersion"],
                "kind": self.of["kind"],
                "metadata": {"name": object::name(self.of), "namespace": metadata["namespace"], "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"]},
                "status": fields,
            })
        })
    }
}

/// That these do not hold is news also where they never did.
const WORTH_DENYING: &[&str] = &["Accepted"];
