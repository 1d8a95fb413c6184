//! Events, read for one thing: that an owner could not create a pod, and why.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time as MetaTime};
use serde::{Deserialize, Serialize};

use super::meta;
use crate::model::{CreationFailure, OwnerRef, PodKey, Time};

/// The longest message that is kept; a webhook may write anything.
const MESSAGE_BYTES_MAX: usize = 512;

/// An Event of the core group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct EventObject {
    #[serde(default, deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub involved_object: ObjectReference,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub reason: String,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub message: String,
    #[serde(default)]
    pub last_timestamp: Option<MetaTime>,
    #[serde(default)]
    pub event_time: Option<MicroTime>,
    #[serde(default)]
    pub series: Option<Series>,
}

/// `series` of an Event that repeats.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// When it was seen last.
    #[serde(default)]
    pub last_observed_time: Option<MicroTime>,
}

meta::resource!(EventObject, "Event", "", "v1", "events", NamespaceResourceScope);

impl EventObject {
    /// The reason that controllers give when they cannot create a pod.
    pub const FAILED_CREATE: &str = "FailedCreate";

    /// Which owner could not create a pod, and why; none if it says nothing of that, or not who.
    pub fn creation_failure(&self) -> Option<CreationFailure> {
        let about = &self.involved_object;
        let (namespace, name) = (about.namespace.as_deref()?, about.name.as_deref()?);
        let at = [
            self.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0),
            self.last_timestamp.as_ref().map(|time| time.0),
            self.event_time.as_ref().map(|time| time.0),
        ];
        let at = at.into_iter().flatten().max()?.as_millisecond();
        (self.reason == Self::FAILED_CREATE).then_some(())?;
        Some(CreationFailure {
            owner: OwnerRef {
                api_version: about.api_version.as_deref().unwrap_or_default().into(),
                kind: about.kind.as_deref().unwrap_or_default().into(),
                key: PodKey::new(namespace, name),
                uid: about.uid.as_deref().filter(|uid| !uid.is_empty())?.into(),
            },
            above: Vec::new(),
            message: shortened(&self.message),
            at: Time::from_unix_ms(u64::try_from(at).unwrap_or(0)),
        })
    }
}

/// On one line, and cut at a character.
fn shortened(message: &str) -> Arc<str> {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let words: Vec<&str> = message[..end].split_whitespace().collect();
    words.join(" ").into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(mut event: Value, changes: &Value) -> Option<CreationFailure> {
        for (key, value) in changes.as_object().into_iter().flatten() {
            event[key] = value.clone();
        }
        serde_json::from_value::<EventObject>(event).expect("an Event").creation_failure()
    }

    fn event() -> Value {
        json!({"metadata": {"name": "train.1", "namespace": "ml"}, "reason": "FailedCreate", "message": "Error creating: exceeded\n quota",
            "involvedObject": {"kind": "Job", "namespace": "ml", "name": "train", "uid": "u", "apiVersion": "batch/v1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:05Z", "eventTime": null})
    }

    #[test]
    fn an_event_says_who_could_not_create_what_and_when_last() {
        let failure = read(event(), &json!({})).unwrap();
        assert_eq!((&*failure.owner.kind, failure.owner.key.to_string().as_str(), &*failure.owner.uid), ("Job", "ml/train", "u"));
        assert_eq!(&*failure.message, "Error creating: exceeded quota");
        let series = read(event(), &json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:09.500000Z"}})).unwrap();
        assert_eq!(series.at - failure.at, std::time::Duration::from_millis(4500));
    }

    #[test]
    fn what_says_nothing_of_it_is_none_and_a_long_message_is_cut_at_a_character() {
        for changes in [json!({"reason": "SuccessfulCreate"}), json!({"involvedObject": {"kind": "Job"}}), json!({"lastTimestamp": null})] {
            assert_eq!(read(event(), &changes), None, "{changes}");
        }
        let long = read(event(), &json!({"message": format!("x{}", "\u{1F980}".repeat(400))})).unwrap();
        assert!(long.message.len() <= MESSAGE_BYTES_MAX && long.message.len() > MESSAGE_BYTES_MAX - 4, "{}", long.message.len());
    }
}
