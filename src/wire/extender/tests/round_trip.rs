//! What the client writes the server reads, and the other way round, whatever the names are made of.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::classes;
use crate::engine::{FilterAnswer, PreemptCandidate, PreemptChoice, Refused};
use crate::model::{Curable, PodUid, Reason};

fn pod() -> Box<serde_json::value::RawValue> {
    client::pod_json(&json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}})).unwrap()
}

/// DNS names mostly, and strings of everything else.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", 1 => any::<String>()]
}

proptest! {
    #[test]
    fn filter_and_prioritize(names in vec(name(), 0..40), seed in any::<u64>()) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let body = client::render_filter_request(&pod(), &names);
        let request = parse_filter(&body, &classes()).unwrap();
        prop_assert_eq!(&*request.names(), names.as_slice());

        let passing: Vec<u32> = (0..).take(names.len()).filter(|place| seed >> (place % 64) & 1 == 1).collect();
        let answer = FilterAnswer { nodes: passing.clone(), refused: Refused::None };
        let response = client::parse_filter_response(&render_filter(&request, &answer)).unwrap();
        let expected: Vec<&str> = passing.iter().map(|place| names[*place as usize]).collect();
        prop_assert_eq!(response.node_names.unwrap(), expected);
        prop_assert!(response.failed_nodes.is_none() && response.failed_and_unresolvable_nodes.is_none() && response.error.is_empty());

        let each = (0..names.len()).map(|place| {
            let curable = if seed >> (place % 64) & 1 == 1 { Curable::ByEviction } else { Curable::NotByScheduler };
            (Reason::QuotaExceeded(names[place].into()), curable)
        });
        let answer = FilterAnswer { nodes: vec![], refused: Refused::Each(each.collect()) };
        let response = client::parse_filter_response(&render_filter(&request, &answer)).unwrap();
        let (failed, unresolvable) = (response.failed_nodes.unwrap_or_default(), response.failed_and_unresolvable_nodes.unwrap_or_default());
        for (place, name) in names.iter().enumerate() {
            let map = if seed >> (place % 64) & 1 == 1 { &failed } else { &unresolvable };
            prop_assert_eq!(map.get(*name).unwrap(), &Reason::QuotaExceeded((*name).into()).to_string());
        }

        let scores: Vec<i64> = (0..).take(names.len()).map(|place: i64| place * 7 - 3).collect();
        let hosts = client::parse_prioritize_response(&render_prioritize(&request, &scores)).unwrap();
        let expected: Vec<_> = names.iter().zip(scores).map(|(host, score)| client::HostPriority { host: (*host).into(), score }).collect();
        prop_assert_eq!(hosts, expected);
    }

    #[test]
    fn preempt(nodes in proptest::collection::btree_map(name(), vec(name(), 0..4), 0..10), violations in 0..5_i64) {
        let uids = |victims: &Vec<String>| victims.iter().map(|uid| PodUid::from(uid.as_str())).collect::<Vec<_>>();
        let sent: Vec<PreemptCandidate<'_>> =
            nodes.iter().map(|(node, victims)| PreemptCandidate { node, victims: uids(victims), pdb_violations: violations }).collect();
        let body = client::render_preempt_request(&pod(), &sent);
        let request = parse_preempt(&body, &classes()).unwrap();
        let candidates = request.candidates();
        prop_assert_eq!(format!("{candidates:?}"), format!("{sent:?}"));

        let choices: Vec<PreemptChoice> = (0..)
            .zip(&candidates)
            .map(|(candidate, proposal)| PreemptChoice { candidate, victims: proposal.victims.clone(), pdb_violations: violations })
            .collect();
        let response = client::parse_preempt_response(&render_preempt(&request, &choices)).unwrap();
        let allowed = response.node_name_to_meta_victims.unwrap();
        let with_victims = nodes.iter().filter(|(_, victims)| !victims.is_empty());
        prop_assert_eq!(allowed.len(), with_victims.clone().count());
        for (node, victims) in with_victims {
            prop_assert_eq!(allowed[node].uids(), uids(victims));
            prop_assert_eq!(allowed[node].pdb_violations, violations);
        }
    }

    #[test]
    fn bind(key in (".+", ".+"), uid in ".+", node in ".+", error in any::<String>()) {
        let request = BindRequest {
            key: crate::model::PodKey::new(key.0, key.1),
            uid: PodUid::from(uid.as_str()),
            node: crate::model::NodeName::from(node.as_str()),
        };
        prop_assert_eq!(parse_bind(&client::render_bind_request(&request)).unwrap(), request);
        prop_assert_eq!(client::parse_bind_response(&render_bind(Some(&error))).unwrap().error, error);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(body in vec(any::<u8>(), 0..200)) {
        let _ = parse_filter(&body, &classes());
        let _ = parse_preempt(&body, &classes());
        let _ = parse_bind(&body);
    }

    #[test]
    fn no_json_makes_a_parser_panic(pod in "(\\{|\\}|\\[|\\]|\"|:|,|[a-z]|[0-9]|metadata|spec|limits){0,60}") {
        let _ = parse_filter(format!(r#"{{"Pod":{pod},"NodeNames":[]}}"#).as_bytes(), &classes());
    }
}

#[test]
fn whole_nodes_come_back_byte_for_byte() {
    let texts = [r#"{ "metadata" : {"name":"a","x":"\u0061"}, "b" : 1.50 }"#, r#"{"metadata":{"name":"b"}}"#];
    let nodes: Vec<&serde_json::value::RawValue> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let body = client::render_filter_request_with_nodes(&pod(), &nodes);
    let request = parse_filter(&body, &classes()).unwrap();
    assert_eq!(&*request.names(), ["a", "b"]);
    let answer = FilterAnswer { nodes: vec![0, 1], refused: Refused::None };
    let response = client::parse_filter_response(&render_filter(&request, &answer)).unwrap();
    assert!(response.node_names.is_none());
    let items = response.nodes.unwrap().items;
    assert_eq!(items.iter().map(|item| item.get()).collect::<Vec<_>>(), texts);
}
