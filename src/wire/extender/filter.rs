//! filter and prioritize: the same request, and their two answers.
//!
//! With `nodeCacheCapable: true` kube-scheduler offers names and reads names. Without it, it offers whole Node objects
//! and reads them back; they are returned byte for byte as they came.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::{Name, Names};
use super::{json, text};
use crate::engine::{FilterAnswer, Refused, Score};
use crate::model::{Classes, Curable, Pod, Reason};
use crate::wire::{PodObject, WireError};

/// Which of these nodes can take this pod, or how good are they?
#[derive(Debug)]
pub struct FilterRequest<'a> {
    /// The pod, as kube-scheduler's cache has it.
    pub pod: Pod,
    names: Names<'a>,
    /// The Node objects, where they were sent instead of names; in the order of `names`.
    nodes: Option<Vec<&'a RawValue>>,
}

impl FilterRequest<'_> {
    /// The offered nodes, as [`crate::engine::FilterQuery`] takes them.
    pub fn names(&self) -> std::borrow::Cow<'_, [&'_ str]> {
        self.names.as_slice()
    }

    /// How many nodes are offered.
    pub fn offered(&self) -> usize {
        self.names.len()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExtenderArgs<'a> {
    pod: PodObject,
    #[serde(borrow)]
    node_names: Option<Names<'a>>,
    #[serde(borrow)]
    nodes: Option<NodeList<'a>>,
}

#[derive(Deserialize)]
struct NodeList<'a> {
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct NamedObject<'a> {
    #[serde(borrow)]
    metadata: NamedMetadata<'a>,
}

#[derive(Deserialize)]
struct NamedMetadata<'a> {
    #[serde(borrow)]
    name: Name<'a>,
}

/// Reads a filter request.
///
/// # Errors
/// Anything that is not an `ExtenderArgs` with a pod and a list of nodes.
pub fn parse_filter<'a>(body: &'a [u8], classes: &Classes) -> Result<FilterRequest<'a>, WireError> {
    parse("filter request", body, classes)
}

/// Reads a prioritize request: the same message.
///
/// # Errors
/// As [`parse_filter`].
pub fn parse_prioritize<'a>(body: &'a [u8], classes: &Classes) -> Result<FilterRequest<'a>, WireError> {
    parse("prioritize request", body, classes)
}

fn parse<'a>(message: &'static str, body: &'a [u8], classes: &Classes) -> Result<FilterRequest<'a>, WireError> {
    let args: ExtenderArgs<'a> = serde_json::from_str(text(message, body)?).map_err(|error| WireError::unreadable(message, &error))?;
    let pod = args.pod.to_model(classes)?;
    if let Some(names) = args.node_names {
        return Ok(FilterRequest { pod, names, nodes: None });
    }
    let Some(list) = args.nodes else {
        return Err(WireError::Missing { message, path: "NodeNames", expected: "the offered nodes, here or as objects in `Nodes`" });
    };
    let nodes = list.items.unwrap_or_default();
    let mut names = Names::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        let object: NamedObject<'a> = serde_json::from_str(node.get()).map_err(|error| WireError::Invalid {
            message,
            path: format!("Nodes.items[{place}]"),
            problem: error.to_string(),
        })?;
        names.push(object.metadata.name);
    }
    Ok(FilterRequest { pod, names, nodes: Some(nodes) })
}

/// The answer to filter.
pub fn render_filter(request: &FilterRequest<'_>, answer: &FilterAnswer) -> Vec<u8> {
    let mut out = Vec::with_capacity(filter_bytes(request, answer));
    let passing = answer.nodes.iter().map(|place| *place as usize);
    if let Some(nodes) = &request.nodes {
        out.extend_from_slice(br#"{"Nodes":{"metadata":{},"items":["#);
        separated(&mut out, passing.filter_map(|place| nodes.get(place)), |out, node| out.extend_from_slice(node.get().as_bytes()));
        out.extend_from_slice(br#"]},"NodeNames":null"#);
    } else {
        out.extend_from_slice(br#"{"Nodes":null,"NodeNames":["#);
        separated(&mut out, passing.filter(|place| *place < request.offered()), |out, place| request.names.push_json(out, place));
        out.push(b']');
    }
    out.extend_from_slice(br#","FailedNodes":"#);
    push_refused(&mut out, request, answer, Curable::ByEviction);
    out.extend_from_slice(br#","FailedAndUnresolvableNodes":"#);
    push_refused(&mut out, request, answer, Curable::NotByScheduler);
    out.extend_from_slice(br#","Error":""}"#);
    out
}

/// Room for the answer: names once, and a reason of ordinary length beside each refused one.
fn filter_bytes(request: &FilterRequest<'_>, answer: &FilterAnswer) -> usize {
    const FRAME: usize = 128;
    const QUOTES_AND_COMMA: usize = 6;
    const REASON: usize = 56;
    match (&request.nodes, &answer.refused) {
        (None, Refused::None) if answer.nodes.len() * 2 < request.offered() => FRAME + answer.nodes.len() * 64,
        (None, Refused::None) => FRAME + request.names.bytes() + answer.nodes.len() * QUOTES_AND_COMMA,
        (Some(nodes), Refused::None) => FRAME + nodes.iter().map(|node| node.get().len() + 1).sum::<usize>(),
        (_, Refused::All(..) | Refused::Each(_)) => FRAME + request.names.bytes() + request.offered() * (QUOTES_AND_COMMA + REASON),
    }
}

/// The refused nodes of one kind, as an object or `null`.
fn push_refused(out: &mut Vec<u8>, request: &FilterRequest<'_>, answer: &FilterAnswer, kind: Curable) {
    let mut passing = answer.nodes.iter().map(|place| *place as usize).peekable();
    let mut refused_at = |place: usize| {
        while passing.next_if(|passed| *passed < place).is_some() {}
        passing.peek() != Some(&place)
    };
    match &answer.refused {
        Refused::All(reason, curable) if *curable == kind => {
            let suffix = reason_suffix(reason);
            let places = (0..request.offered()).filter(|place| refused_at(*place));
            object(out, places, |out, place| {
                request.names.push_json(out, place);
                out.extend_from_slice(&suffix);
            });
        }
        Refused::Each(reasons) => {
            let mut texts: Vec<(&Reason, Vec<u8>)> = Vec::new();
            let entries = reasons.iter().take(request.offered()).enumerate();
            let entries = entries.filter(|(place, (_, curable))| *curable == kind && refused_at(*place));
            object(out, entries, |out, (place, (reason, _))| {
                request.names.push_json(out, place);
                let known = texts.iter().position(|(known, _)| *known == reason).unwrap_or_else(|| {
                    texts.push((reason, reason_suffix(reason)));
                    texts.len() - 1
                });
                out.extend_from_slice(&texts[known].1);
            });
        }
        Refused::None | Refused::All(..) => out.extend_from_slice(b"null"),
    }
}

/// `:"reason"`, escaped once a call.
fn reason_suffix(reason: &Reason) -> Vec<u8> {
    let mut text = String::new();
    // A String takes everything.
    let _ = write!(text, "{reason}");
    let mut suffix = vec![b':'];
    json::push_string(&mut suffix, &text);
    suffix
}

/// The answer to filter when there is none: kube-scheduler fails the attempt and tries again later.
pub fn render_filter_error(message: &str) -> Vec<u8> {
    let mut out = br#"{"Nodes":null,"NodeNames":null,"FailedNodes":null,"FailedAndUnresolvableNodes":null,"Error":"#.to_vec();
    json::push_string(&mut out, message);
    out.push(b'}');
    out
}

/// The answer to prioritize, a score an offered node. Scores beyond the nodes are left out.
pub fn render_prioritize(request: &FilterRequest<'_>, scores: &[Score]) -> Vec<u8> {
    const HOST_AND_SCORE: usize = 26;
    let mut out = Vec::with_capacity(2 + request.names.bytes() + request.offered() * HOST_AND_SCORE);
    out.push(b'[');
    separated(&mut out, (0..request.offered()).zip(scores), |out, (place, score)| {
        out.extend_from_slice(br#"{"Host":"#);
        request.names.push_json(out, place);
        out.extend_from_slice(br#","Score":"#);
        json::push_integer(out, *score);
        out.push(b'}');
    });
    out.push(b']');
    out
}

/// An object of entries, or `null` where there are none.
fn object<T>(out: &mut Vec<u8>, entries: impl Iterator<Item = T>, push: impl FnMut(&mut Vec<u8>, T)) {
    let start = out.len();
    out.push(b'{');
    separated(out, entries, push);
    if out.len() == start + 1 {
        out.truncate(start);
        out.extend_from_slice(b"null");
    } else {
        out.push(b'}');
    }
}

/// Items with commas between them.
pub(super) fn separated<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut push: impl FnMut(&mut Vec<u8>, T)) {
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push(out, item);
    }
}
