//! Inputs as they came off the wire, in the form that the journal keeps and replay reads: a request's bytes, an API
//! object, or the bare fact. Decides their JSON; what is kept and for how long is the host's business.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kube::api::DynamicObject;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::accelerator_node::AcceleratorNode;
use super::event::EventObject;
use super::gang::{GangObject, Suspends};
use super::node::NodeObject;
use super::objects::{BudgetObject, PriorityClassObject, QuotaObject, VolumeObject};
use super::pod::PodObject;

/// One input, before it was read into the model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "each variant and field is explained at engine::Input")]
pub enum Record {
    PodApplied {
        object: Arc<PodObject>,
    },
    PodDeleted {
        uid: Arc<str>,
    },
    NodeApplied {
        object: Arc<NodeObject>,
        report: Option<Arc<AcceleratorNode>>,
    },
    NodeDeleted {
        name: Arc<str>,
    },
    QuotaApplied {
        object: Arc<QuotaObject>,
    },
    QuotaDeleted {
        namespace: Arc<str>,
        name: Arc<str>,
    },
    BudgetApplied {
        object: Arc<BudgetObject>,
    },
    BudgetDeleted {
        namespace: Arc<str>,
        name: Arc<str>,
    },
    PriorityClassApplied {
        object: Arc<PriorityClassObject>,
    },
    PriorityClassDeleted {
        name: Arc<str>,
    },
    VolumeApplied {
        object: Arc<VolumeObject>,
    },
    VolumeDeleted {
        name: Arc<str>,
    },
    /// An object, which of its gangs the input was of, and the top-most owner that can be suspended.
    GangApplied {
        object: Arc<GangObject>,
        place: u32,
        suspends: Option<Suspends>,
    },
    /// `gang` is the convention's name.
    GangDeleted {
        gang: Arc<str>,
        namespace: Arc<str>,
        name: Arc<str>,
        uid: Arc<str>,
    },
    /// An Event, and the UIDs of the owners of whom it is about.
    CreationFailed {
        event: Arc<EventObject>,
        above: Vec<Arc<str>>,
    },
    NodeFailed {
        pod: Arc<PodObject>,
    },
    ProvisioningServed {
        version: Option<Arc<str>>,
    },
    ProvisioningApplied {
        object: Arc<DynamicObject>,
    },
    ProvisioningDeleted {
        namespace: Arc<str>,
        name: Arc<str>,
    },
    EndedListed {
        namespace: Arc<str>,
        pods: Vec<Arc<PodObject>>,
    },
    TopologyApplied {
        name: Arc<str>,
        spec: Arc<Value>,
    },
    TopologyDeleted {
        name: Arc<str>,
    },
    HyperNodeApplied {
        name: Arc<str>,
        spec: Arc<Value>,
    },
    HyperNodeDeleted {
        name: Arc<str>,
    },
    /// Files with their texts.
    ProfilesReplaced {
        profiles: Vec<(Arc<str>, Arc<str>)>,
    },
    Synced,
    Desynced,
    Relisted {
        pods: Vec<Arc<PodObject>>,
        nodes: Vec<(Arc<NodeObject>, Option<Arc<AcceleratorNode>>)>,
    },
    Tick,
    /// The engine worked ahead, so many times in a row.
    Prepare {
        #[serde(default = "once")]
        times: u64,
    },
    /// The engine planned the next gang.
    Plan,
    /// The host started over with an empty book, after a panic.
    Reset,
    Filter {
        body: Body,
    },
    Prioritize {
        body: Body,
    },
    Preempt {
        body: Body,
    },
    Bind {
        object: Arc<PodObject>,
        node: Arc<str>,
    },
    BindOutcome {
        uid: Arc<str>,
        node: Arc<str>,
        outcome: Outcome,
    },
}

impl Record {
    /// How many inputs it stands for.
    pub fn times(&self) -> u64 {
        match self {
            Self::Prepare { times } => *times,
            _ => 1,
        }
    }

    /// Takes in the input that came right after it, if it is one more of what needs no line of its own.
    pub fn absorbs(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Prepare { times }, Self::Prepare { times: more }) => {
                *times += more;
                true
            }
            _ => false,
        }
    }
}

fn once() -> u64 {
    1
}

/// `engine::BindOutcome` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "explained at engine::BindOutcome")]
pub enum Outcome {
    Bound,
    Refused,
    Unknown,
}

/// One line of a journal file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Place in the order in which the engine took its inputs, from 0; a gap is an entry that was lost. A record that
    /// stands for several has the place of the first.
    pub seq: u64,
    /// The time that the engine was told, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// FNV-1a of the answer, so that a replay can tell whether it gave the same one. Absent for news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The input.
    pub input: Record,
}

/// A request body: JSON text as a rule, and any bytes at all if a caller sends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let hex = self.0.iter().fold(String::with_capacity(self.0.len() * 2), |mut hex, byte| {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
            hex
        });
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("hex", &hex)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a body as text, or as {\"hex\": ...}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Body, E> {
        Ok(Body(Bytes::copy_from_slice(text.as_bytes())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let Some(("hex", hex)) = map.next_entry::<&str, String>()? else {
            return Err(A::Error::custom("expected the one key `hex`"));
        };
        let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        bytes.map(|bytes| Body(bytes.into())).ok_or_else(|| A::Error::custom("not hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_as_it_went_whatever_its_bytes() {
        for bytes in [&b""[..], b"{\"Pod\":null}", b"\xff\x00\xfe", "\u{1F980}\n\"".as_bytes()] {
            let line = Line { seq: 1, now_ms: 2, answer: None, input: Record::Filter { body: Body(Bytes::copy_from_slice(bytes)) } };
            let text = serde_json::to_string(&line).unwrap();
            let Record::Filter { body } = serde_json::from_str::<Line>(&text).unwrap().input else { panic!("{text}") };
            assert_eq!(body.0, bytes, "{text}");
        }
    }
}
