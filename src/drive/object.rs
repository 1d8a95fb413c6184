//! Objects as the API server has them: who made them, what is said of them, how they are written.

use serde_json::{Value, json};

use super::when;
use crate::model::Time;

/// Says of which spec an object was made.
const DIGEST: &str = "gangplank.dev/spec-digest";

/// Whether an object is controlled by this one.
pub fn is_of(object: &Value, owner_uid: &str) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    { owners }.any(|owner| owner["controller"] == true && owner["uid"] == owner_uid)
}

/// FNV-1a, 64 bits, of what decides how objects look: a new program does not change what runs, a new spec does.
pub fn digest(spec: &Value, without: &[&str]) -> String {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|field, _| !without.contains(&field.as_str()));
    }
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", spec.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Makes an object one of this owner, made of the spec of this digest, and gives it a namespace.
pub(super) fn adopt(object: &mut Value, owner: &Value, digest: &str) {
    let metadata = &mut object["metadata"];
    metadata["namespace"] = owner["metadata"]["namespace"].clone();
    metadata["annotations"][DIGEST] = json!(digest);
    metadata["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
    }]);
}

/// Whether it was made of the spec of this digest.
pub(super) fn has_digest(object: &Value, digest: &str) -> bool {
    object["metadata"]["annotations"][DIGEST] == digest
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub(super) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

pub(super) fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Among what is owned, the object of this kind and name.
pub(super) fn find<'a>(owned: &[&'a Value], kind: &str, wanted: &str) -> Option<&'a Value> {
    owned.iter().copied().find(|object| object["kind"] == kind && name(object) == wanted)
}

/// A condition that holds.
pub(super) fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|it| it["type"] == kind && it["status"] == "True")
}

pub(super) fn time(value: &Value) -> Option<Time> {
    when::parse(value.as_str()?)
}

pub(super) fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

/// A mistake in a word for people: its line says nothing in a live object.
pub(super) fn told(error: &crate::recipe::SpecError) -> String {
    let field = if error.field.is_empty() { String::new() } else { format!("{}: ", error.field) };
    format!("{field}{}; {}", error.problem, error.remedy)
}
