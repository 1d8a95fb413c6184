//! What holds for every pod: admitted means that a node could grant it, and a refusal is one.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::amounts::Amount;
use super::template::{self, LISTS};
use super::{Rules, Verdict, answer, mutate, rewrite, validate};
use crate::model::{AcceleratorClass, Classes, SHARE_MEMORY_MIB, SHARE_MILLI};

fn rules() -> Rules {
    let class = AcceleratorClass {
        name: "any".into(),
        resources: vec!["nvidia.com/gpu".into(), "google.com/tpu".into()],
        sharable: true,
        product_labels: Vec::new(),
        memory_labels: Vec::new(),
    };
    Rules::shipped(Arc::new(Classes(vec![class])))
}

fn amount() -> impl Strategy<Value = Value> {
    let odd =
        ["0", "-1", "1.5", "0.0001", "1e3", "1e999", "2E6024865272343", "5e-1", "16Ki", "999", "1000", "1001", "", "x", "1n", "+1", "-0"];
    prop_oneof![
        3 => (0_u32..4).prop_map(|whole| json!(whole)),
        3 => (0_u32..2500).prop_map(|milli| json!(format!("{milli}m"))),
        2 => (0.0..1.2_f64).prop_map(|number| json!(number)),
        2 => prop::sample::select(odd.to_vec()).prop_map(|text| json!(text)),
        1 => "[0-9]{1,40}".prop_map(Value::from),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["nvidia.com/gpu", SHARE_MILLI, SHARE_MEMORY_MIB, "google.com/tpu", "cpu"]);
    prop::collection::btree_map(names, amount(), 0..3).prop_map(|limits| json!({"image": "i", "resources": {"limits": limits}}))
}

/// Names differ, as the API server demands.
fn pod() -> impl Strategy<Value = Value> {
    let list = |prefix: &'static str| {
        prop::collection::vec(container(), 0..3).prop_map(move |mut containers| {
            for (i, container) in containers.iter_mut().enumerate() {
                container["name"] = json!(format!("{prefix}{i}"));
            }
            containers
        })
    };
    let scheduler = prop::sample::select(vec!["default-scheduler", "gangplank", "mine"]);
    (list("main"), list("init"), scheduler)
        .prop_map(|(main, init, scheduler)| json!({"spec": {"containers": main, "initContainers": init, "schedulerName": scheduler}}))
}

fn review(object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "kind": {"kind": "Pod"},
        "operation": "CREATE", "namespace": "team", "userInfo": {"username": "tess"}, "object": object}})
}

/// Every amount of a resource in the pod's limits, with its container's place.
fn amounts(object: &Value, resource: &str) -> Vec<((&'static str, usize), Amount)> {
    let containers = LISTS.iter().flat_map(|(list, _)| {
        template::containers(&object["spec"], list).iter().enumerate().map(move |(i, container)| ((*list, i), container))
    });
    containers
        .filter_map(|(place, container)| Some((place, template::amounts(container, "limits")?.get(resource)?)))
        .map(|(place, amount)| (place, Amount::read(&template::text(amount))))
        .filter(|(_, amount)| *amount != Amount::Whole(0))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pod_is_admitted_only_as_one_that_a_node_could_grant_and_is_then_left_alone(pod in pod()) {
        let rules = rules();
        let asked = review(&pod);
        let verdict = mutate(&asked, &rules);
        let allowed = answer(&asked, &verdict)["response"]["allowed"].clone();
        let Ok(Verdict::Allow(_)) = verdict else {
            prop_assert_eq!(allowed, json!(false));
            return Ok(());
        };
        prop_assert_eq!(allowed, json!(true));
        let admitted = rewrite::rewrite(&super::Asked::parse(&asked).unwrap(), &rules).unwrap().object;

        let (shares, gpus, tpus) = (amounts(&admitted, SHARE_MILLI), amounts(&admitted, "nvidia.com/gpu"), amounts(&admitted, "google.com/tpu"));
        prop_assert!(shares.iter().all(|(_, amount)| matches!(amount, Amount::Whole(1..=1000))));
        prop_assert!(gpus.iter().chain(&tpus).all(|(_, amount)| matches!(amount, Amount::Whole(1..=999))));
        prop_assert!(shares.is_empty() || (gpus.is_empty() && tpus.is_empty()));
        for (place, _) in amounts(&admitted, SHARE_MEMORY_MIB) {
            prop_assert!(shares.iter().any(|(share, _)| *share == place));
        }
        let scheduler = &admitted["spec"]["schedulerName"];
        prop_assert!(shares.is_empty() || scheduler == "gangplank");
        prop_assert!(scheduler != "default-scheduler" || (gpus.is_empty() && tpus.is_empty()));

        let again = review(&admitted);
        prop_assert_eq!(mutate(&again, &rules), Ok(Verdict::YES));
        prop_assert_eq!(validate(&again, &rules), Ok(Verdict::YES));
    }
}
