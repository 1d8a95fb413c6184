//! kube-scheduler's side of the protocol, as its 1.36 `HTTPExtender` writes and reads it: nil is `null`, keys are
//! PascalCase, and answers are read with the same strictness. For the demo, benchmarks and tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::filter::separated;
use super::{BindRequest, json};
use crate::engine::PreemptCandidate;
use crate::model::PodUid;
use crate::wire::WireError;

/// A pod as it will be sent, serialized once for all its requests.
///
/// # Errors
/// A value that JSON cannot carry.
pub fn pod_json(pod: &impl Serialize) -> Result<Box<RawValue>, WireError> {
    to_raw_value(pod).map_err(|error| WireError::unreadable("pod", &error))
}

/// `ExtenderArgs` of a `nodeCacheCapable` extender: filter and prioritize alike.
pub fn render_filter_request(pod: &RawValue, names: &[&str]) -> Vec<u8> {
    let mut out = start(pod);
    out.extend_from_slice(br#","Nodes":null,"NodeNames":["#);
    separated(&mut out, names.iter(), |out, name| json::push_string(out, name));
    out.extend_from_slice(b"]}");
    out
}

/// `ExtenderArgs` of an extender that is sent whole nodes.
pub fn render_filter_request_with_nodes(pod: &RawValue, nodes: &[&RawValue]) -> Vec<u8> {
    let mut out = start(pod);
    out.extend_from_slice(br#","Nodes":{"metadata":{},"items":["#);
    separated(&mut out, nodes.iter(), |out, node| out.extend_from_slice(node.get().as_bytes()));
    out.extend_from_slice(br#"]},"NodeNames":null}"#);
    out
}

/// `ExtenderPreemptionArgs` of a `nodeCacheCapable` extender.
pub fn render_preempt_request(pod: &RawValue, candidates: &[PreemptCandidate<'_>]) -> Vec<u8> {
    let mut out = start(pod);
    out.extend_from_slice(br#","NodeNameToVictims":null,"NodeNameToMetaVictims":{"#);
    separated(&mut out, candidates.iter(), |out, candidate| {
        json::push_string(out, candidate.node);
        out.extend_from_slice(br#":{"Pods":["#);
        separated(out, candidate.victims.iter(), |out, uid| {
            out.extend_from_slice(br#"{"UID":"#);
            json::push_string(out, uid.as_str());
            out.push(b'}');
        });
        out.extend_from_slice(br#"],"NumPDBViolations":"#);
        json::push_integer(out, candidate.pdb_violations);
        out.push(b'}');
    });
    out.extend_from_slice(b"}}");
    out
}

/// `ExtenderBindingArgs`.
pub fn render_bind_request(request: &BindRequest) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = [
        ("PodName", &*request.key.name),
        ("PodNamespace", &*request.key.namespace),
        ("PodUID", request.uid.as_str()),
        ("Node", request.node.as_str()),
    ];
    out.push(b'{');
    separated(&mut out, fields.into_iter(), |out, (key, value)| {
        json::push_string(out, key);
        out.push(b':');
        json::push_string(out, value);
    });
    out.push(b'}');
    out
}

fn start(pod: &RawValue) -> Vec<u8> {
    let mut out = br#"{"Pod":"#.to_vec();
    out.extend_from_slice(pod.get().as_bytes());
    out
}

/// `ExtenderFilterResult`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub struct FilterResponse {
    pub node_names: Option<Vec<String>>,
    pub nodes: Option<NodeListResponse>,
    pub failed_nodes: Option<BTreeMap<String, String>>,
    pub failed_and_unresolvable_nodes: Option<BTreeMap<String, String>>,
    pub error: String,
}

/// `v1.NodeList`.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub struct NodeListResponse {
    pub items: Vec<Box<RawValue>>,
}

/// `HostPriority`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words of the protocol")]
pub struct HostPriority {
    pub host: String,
    pub score: i64,
}

/// `ExtenderPreemptionResult`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub struct PreemptResponse {
    pub node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

/// `MetaVictims`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub struct MetaVictims {
    #[serde(rename = "Pods")]
    pub pods: Vec<MetaPod>,
    #[serde(rename = "NumPDBViolations")]
    pub pdb_violations: i64,
}

impl MetaVictims {
    /// The victims.
    pub fn uids(&self) -> Vec<PodUid> {
        self.pods.iter().map(|pod| PodUid::from(pod.uid.as_str())).collect()
    }
}

/// `MetaPod`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub struct MetaPod {
    #[serde(rename = "UID")]
    pub uid: String,
}

/// `ExtenderBindingResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub struct BindResponse {
    pub error: String,
}

/// Reads the answer to filter.
///
/// # Errors
/// Bytes that kube-scheduler would not take either.
pub fn parse_filter_response(body: &[u8]) -> Result<FilterResponse, WireError> {
    parse("filter response", body)
}

/// Reads the answer to prioritize.
///
/// # Errors
/// Bytes that kube-scheduler would not take either.
pub fn parse_prioritize_response(body: &[u8]) -> Result<Vec<HostPriority>, WireError> {
    parse("prioritize response", body)
}

/// Reads the answer to preempt.
///
/// # Errors
/// Bytes that kube-scheduler would not take either.
pub fn parse_preempt_response(body: &[u8]) -> Result<PreemptResponse, WireError> {
    parse("preempt response", body)
}

/// Reads the answer to bind.
///
/// # Errors
/// Bytes that kube-scheduler would not take either.
pub fn parse_bind_response(body: &[u8]) -> Result<BindResponse, WireError> {
    parse("bind response", body)
}

fn parse<'a, T: Deserialize<'a>>(message: &'static str, body: &'a [u8]) -> Result<T, WireError> {
    serde_json::from_slice(body).map_err(|error| WireError::unreadable(message, &error))
}
