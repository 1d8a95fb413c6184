//! preempt: kube-scheduler's proposals, a node and its victims each, and which of them may go ahead.
//!
//! With `nodeCacheCapable: true` victims come as UIDs, without it as whole pods. The answer is UIDs in either case, and
//! replaces the proposals: a node that is left out is vetoed.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::filter::separated;
use super::names::{Name, Names};
use super::{json, text};
use crate::engine::{PreemptCandidate, PreemptChoice};
use crate::model::{Classes, Pod, PodUid};
use crate::wire::{PodObject, WireError};

const MESSAGE: &str = "preempt request";

/// May these pods be evicted for this one?
#[derive(Debug)]
pub struct PreemptRequest<'a> {
    /// The preemptor.
    pub pod: Pod,
    nodes: Names<'a>,
    victims: Vec<Victims>,
}

impl PreemptRequest<'_> {
    /// The proposals, as [`crate::engine::PreemptQuery`] takes them.
    pub fn candidates(&self) -> Vec<PreemptCandidate<'_>> {
        let nodes = (0..self.nodes.len()).filter_map(|place| self.nodes.get(place));
        nodes
            .zip(&self.victims)
            .map(|(node, victims)| PreemptCandidate { node, victims: victims.pods.clone(), pdb_violations: victims.pdb_violations })
            .collect()
    }
}

#[derive(Debug)]
struct Victims {
    pods: Vec<PodUid>,
    pdb_violations: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExtenderPreemptionArgs<'a> {
    pod: PodObject,
    #[serde(borrow)]
    node_name_to_meta_victims: Option<ByNode<'a, MetaPod>>,
    #[serde(borrow)]
    node_name_to_victims: Option<ByNode<'a, VictimPod>>,
}

#[derive(Deserialize)]
struct VictimsObject<P> {
    #[serde(rename = "Pods")]
    pods: Option<Vec<P>>,
    #[serde(rename = "NumPDBViolations", default)]
    pdb_violations: i64,
}

#[derive(Deserialize)]
struct MetaPod {
    #[serde(rename = "UID")]
    uid: String,
}

/// A whole pod, of which only its identity counts.
#[derive(Deserialize)]
struct VictimPod {
    metadata: VictimMetadata,
}

#[derive(Deserialize)]
struct VictimMetadata {
    uid: String,
}

trait Victim {
    fn into_uid(self) -> String;
}

impl Victim for MetaPod {
    fn into_uid(self) -> String {
        self.uid
    }
}

impl Victim for VictimPod {
    fn into_uid(self) -> String {
        self.metadata.uid
    }
}

/// A map from nodes to victims, in the order it was sent.
struct ByNode<'a, P>(Vec<(Name<'a>, VictimsObject<P>)>);

impl<'de: 'a, 'a, P: Deserialize<'de>> Deserialize<'de> for ByNode<'a, P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByNodeVisitor<P>(std::marker::PhantomData<P>);

        impl<'de, P: Deserialize<'de>> Visitor<'de> for ByNodeVisitor<P> {
            type Value = ByNode<'de, P>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of victims by node")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(ByNode(entries))
            }
        }

        deserializer.deserialize_map(ByNodeVisitor(std::marker::PhantomData))
    }
}

/// Reads a preempt request. The proposals come out ordered by node: Go's maps have no order of their own.
///
/// # Errors
/// Anything that is not an `ExtenderPreemptionArgs` with a pod and proposals, or proposes for one node twice.
pub fn parse_preempt<'a>(body: &'a [u8], classes: &Classes) -> Result<PreemptRequest<'a>, WireError> {
    let args: ExtenderPreemptionArgs<'a> =
        serde_json::from_str(text(MESSAGE, body)?).map_err(|error| WireError::unreadable(MESSAGE, &error))?;
    let pod = args.pod.to_model(classes)?;
    let proposals = match (args.node_name_to_meta_victims, args.node_name_to_victims) {
        (Some(by_node), _) => collect(by_node),
        (None, Some(by_node)) => collect(by_node),
        (None, None) => {
            return Err(WireError::Missing {
                message: MESSAGE,
                path: "NodeNameToMetaVictims",
                expected: "the proposals, here or with whole pods in `NodeNameToVictims`",
            });
        }
    };
    if let Some(pair) = proposals.windows(2).find(|pair| pair[0].0.as_str() == pair[1].0.as_str()) {
        let path = format!("NodeNameToMetaVictims.{}", pair[0].0.as_str());
        return Err(WireError::Invalid { message: MESSAGE, path, problem: "there twice".into() });
    }
    let mut request = PreemptRequest { pod, nodes: Names::with_capacity(proposals.len()), victims: Vec::with_capacity(proposals.len()) };
    for (node, victims) in proposals {
        request.nodes.push(node);
        request.victims.push(victims);
    }
    Ok(request)
}

fn collect<P: Victim>(by_node: ByNode<'_, P>) -> Vec<(Name<'_>, Victims)> {
    let victims = |object: VictimsObject<P>| Victims {
        pods: object.pods.unwrap_or_default().into_iter().map(|pod| PodUid::new(pod.into_uid())).collect(),
        pdb_violations: object.pdb_violations,
    };
    let mut proposals: Vec<_> = by_node.0.into_iter().map(|(node, object)| (node, victims(object))).collect();
    proposals.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    proposals
}

/// The answer to preempt. A choice without victims is left out: kube-scheduler would fail the whole call over it.
pub fn render_preempt(request: &PreemptRequest<'_>, choices: &[PreemptChoice]) -> Vec<u8> {
    let mut out = br#"{"NodeNameToMetaVictims":{"#.to_vec();
    let allowed = choices.iter().filter(|choice| !choice.victims.is_empty() && (choice.candidate as usize) < request.nodes.len());
    separated(&mut out, allowed, |out, choice| {
        request.nodes.push_json(out, choice.candidate as usize);
        out.extend_from_slice(br#":{"Pods":["#);
        separated(out, choice.victims.iter(), |out, uid| {
            out.extend_from_slice(br#"{"UID":"#);
            json::push_string(out, uid.as_str());
            out.push(b'}');
        });
        out.extend_from_slice(br#"],"NumPDBViolations":"#);
        json::push_integer(out, choice.pdb_violations);
        out.push(b'}');
    });
    out.extend_from_slice(b"}}");
    out
}
