//! `tests/golden/wire/NAME.request.json` is parsed (NAME.parsed.txt), answered as the table below says, and rendered
//! (NAME.response.json, byte for byte). `UPDATE=1` rewrites the last two; the diff is the review.

use std::fmt::Debug;
use std::path::PathBuf;

use super::super::*;
use super::classes;
use crate::engine::{FilterAnswer, PreemptChoice, Refused};
use crate::model::{Curable, NodeName, Pod, Reason};

fn check(name: &str, exchange: impl FnOnce(&[u8]) -> (String, Vec<u8>)) {
    let path = |part: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/wire/{name}.{part}"));
    let (parsed, mut response) = exchange(&std::fs::read(path("request.json")).unwrap());
    serde_json::from_slice::<serde_json::Value>(&response).unwrap();
    response.push(b'\n');
    for (part, made) in [("parsed.txt", format!("{parsed}\n").into_bytes()), ("response.json", response)] {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path(part), &made).unwrap();
        }
        let kept = std::fs::read(path(part)).unwrap_or_default();
        let (made, kept) = (String::from_utf8_lossy(&made), String::from_utf8_lossy(&kept));
        let differs = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
        assert!(made == kept, "tests/golden/wire/{name}.{part}: {differs:#?}\nif the new line is right: UPDATE=1 cargo test golden");
    }
}

/// What was read, a line a fact: facts that the model gains later belong to the tests of `wire::pod`.
fn pod(pod: &Pod) -> String {
    let mut lines = vec![format!("pod {} uid {} priority {} scheduler {}", pod.key, pod.uid, pod.priority, pod.scheduler)];
    let mut line = |key: &str, value: &dyn Debug| lines.push(format!("{key}: {value:?}"));
    line("nominated", &pod.nominated.as_ref().map(NodeName::as_str));
    line("profile", &pod.profile);
    line("preferences", &pod.has_preferences);
    line("cpu_milli", &pod.cpu_milli);
    line("memory_bytes", &pod.memory_bytes);
    line("impossible", &pod.request.impossible);
    for container in &pod.request.containers {
        line("container", container);
    }
    for requirement in &pod.constraints.node_selector {
        line("node_selector", requirement);
    }
    for term in pod.constraints.node_affinity.iter().flatten() {
        line("node_affinity", term);
    }
    for toleration in &pod.constraints.tolerations {
        line("toleration", toleration);
    }
    lines.join("\n")
}

fn list(items: &[impl Debug]) -> String {
    items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join("\n")
}

fn filter(name: &str, answer: &FilterAnswer) {
    check(name, |body| {
        let request = parse_filter(body, &classes()).unwrap();
        (format!("{}\nnames: {:?}", pod(&request.pod), request.names()), render_filter(&request, answer))
    });
}

#[test]
fn the_best_node_alone_passes() {
    filter("filter-names", &FilterAnswer { nodes: vec![1], refused: Refused::None });
}

#[test]
fn shares_of_every_kind_of_container_are_read() {
    filter("filter-shares", &FilterAnswer { nodes: vec![0, 1], refused: Refused::None });
}

#[test]
fn refused_nodes_are_told_apart_by_who_can_cure_them() {
    use Curable::{ByEviction, NotByScheduler};
    let reasons = vec![
        (Reason::InsufficientDevices, ByEviction),
        (Reason::InsufficientShare, NotByScheduler),
        (Reason::QuotaExceeded("team \"a\"\\b".into()), NotByScheduler),
        (Reason::InsufficientShare, NotByScheduler),
        (Reason::UnknownNode, NotByScheduler),
    ];
    filter("filter-refused-each", &FilterAnswer { nodes: vec![], refused: Refused::Each(reasons) });
}

#[test]
fn a_reason_that_lies_in_the_pod_refuses_every_node() {
    let refused = Refused::All(Reason::QuotaExceeded("ml-team".into()), Curable::NotByScheduler);
    filter("filter-refused-all", &FilterAnswer { nodes: vec![], refused });
}

#[test]
fn an_impossible_amount_is_a_request_and_not_an_error() {
    let refused = Refused::All(Reason::InvalidRequest, Curable::NotByScheduler);
    filter("filter-impossible", &FilterAnswer { nodes: vec![], refused });
}

#[test]
fn whole_nodes_come_back_as_they_were_sent() {
    filter("filter-nodes", &FilterAnswer { nodes: vec![1], refused: Refused::None });
}

#[test]
fn every_node_gets_its_score() {
    check("prioritize", |body| {
        let request = parse_prioritize(body, &classes()).unwrap();
        (list(&request.names()), render_prioritize(&request, &[0, 10, 7]))
    });
}

#[test]
fn a_proposal_goes_ahead_another_is_vetoed() {
    check("preempt", |body| {
        let request = parse_preempt(body, &classes()).unwrap();
        let candidates = request.candidates();
        let place = candidates.iter().position(|candidate| candidate.node == "gpu-2").unwrap();
        let mut victims = candidates[place].victims.clone();
        victims.reverse();
        let choice = PreemptChoice { candidate: u32::try_from(place).unwrap(), victims, pdb_violations: 1 };
        let without_victims = PreemptChoice { candidate: 2, victims: vec![], pdb_violations: 0 };
        (list(&candidates), render_preempt(&request, &[choice, without_victims]))
    });
}

#[test]
fn victims_sent_as_pods_are_answered_as_uids() {
    check("preempt-pods", |body| {
        let request = parse_preempt(body, &classes()).unwrap();
        let candidates = request.candidates();
        let choice = PreemptChoice { candidate: 0, victims: candidates[0].victims.clone(), pdb_violations: 0 };
        (list(&candidates), render_preempt(&request, &[choice]))
    });
}

#[test]
fn a_binding_is_done_or_refused() {
    check("bind", |body| (list(&[parse_bind(body).unwrap()]), render_bind(None)));
    check("bind-refused", |body| (list(&[parse_bind(body).unwrap()]), render_bind(Some("gangplank: the devices are \"gone\""))));
}

#[test]
fn an_error_takes_the_place_of_every_list() {
    let text = String::from_utf8(render_filter_error("not ready")).unwrap();
    assert_eq!(text, r#"{"Nodes":null,"NodeNames":null,"FailedNodes":null,"FailedAndUnresolvableNodes":null,"Error":"not ready"}"#);
}

#[test]
fn a_node_that_passes_is_never_refused_beside_it() {
    let request = parse_filter(br#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":["a","b","c"]}"#, &classes()).unwrap();
    let each = vec![(Reason::NoSuchDevices, Curable::ByEviction); 3];
    for refused in [Refused::Each(each), Refused::All(Reason::NoSuchDevices, Curable::ByEviction)] {
        let bytes = render_filter(&request, &FilterAnswer { nodes: vec![1, 99], refused });
        let response = client::parse_filter_response(&bytes).unwrap();
        assert_eq!(response.node_names.unwrap(), ["b"]);
        assert_eq!(response.failed_nodes.unwrap().into_keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(response.failed_and_unresolvable_nodes, None);
    }
}
