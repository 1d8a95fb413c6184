//! Amounts, constraints and records that pods carry: what is read of them, and what becomes of hostile ones.

use serde_json::{Value, json};

use super::*;
use crate::model::{ContainerRole, Operator, TaintEffect};
use crate::policy::Profile;

fn pod(spec: &Value) -> Pod {
    let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec});
    serde_json::from_value::<PodObject>(object).unwrap().to_model(&Profile::shipped().classes).unwrap()
}

/// What one container with these limits asks for: `4 nvidia.com/gpu`, `500 milli, 4096 MiB`, or `impossible: why`.
fn asked(limits: &Value) -> String {
    let request = pod(&json!({"containers": [{"name": "c", "resources": {"limits": limits}}]})).request;
    let mut parts: Vec<String> = request.impossible.iter().map(|why| format!("impossible: {why}")).collect();
    for container in &request.containers {
        parts.extend(container.whole.iter().map(|(resource, count)| format!("{count} {resource}")));
        parts.extend(container.share.map(|share| match share.memory_mib {
            Some(memory_mib) => format!("{} milli, {memory_mib} MiB", share.milli),
            None => format!("{} milli", share.milli),
        }));
    }
    parts.join("; ")
}

#[test]
fn amounts_become_devices_or_shares() {
    for (limits, expected) in [
        (json!({"cpu": "4", "memory": "1Gi", "example.com/fpga": "1"}), ""),
        (json!({"nvidia.com/gpu": "4"}), "4 nvidia.com/gpu"),
        (json!({"nvidia.com/gpu": 4}), "4 nvidia.com/gpu"),
        (json!({"nvidia.com/gpu": "4000m"}), "4 nvidia.com/gpu"),
        (json!({"nvidia.com/gpu": "0"}), ""),
        (json!({"cloud-tpus.google.com/v3": 8}), "8 cloud-tpus.google.com/v3"),
        (json!({"nvidia.com/gpu": 1, "amd.com/gpu": 2}), "2 amd.com/gpu; 1 nvidia.com/gpu"),
        (json!({"nvidia.com/gpu": "500m"}), "500 milli"),
        (json!({"nvidia.com/gpu": 0.5}), "500 milli"),
        (json!({"nvidia.com/gpu": "0.3333"}), "334 milli"),
        (json!({"nvidia.com/gpu": "500m", "gangplank.dev/gpu-memory-mib": "4096"}), "500 milli, 4096 MiB"),
        (json!({"gangplank.dev/gpu-milli": "1"}), "1 milli"),
        (json!({"gangplank.dev/gpu-milli": "1k"}), "1000 milli"),
        (json!({"gangplank.dev/gpu-milli": "0"}), ""),
        (json!({"gangplank.dev/gpu-milli": "250", "nvidia.com/gpu": "2"}), "2 nvidia.com/gpu; 250 milli"),
    ] {
        assert_eq!(asked(&limits), expected, "{limits}");
    }
}

#[test]
fn a_pod_of_thousands_of_resources_is_impossible_and_cut_short() {
    let limits = |container: u32| {
        json!((0..600).map(|kind| (format!("nvidia.com/mig-{container}-{kind}"), json!(1))).collect::<serde_json::Map<_, _>>())
    };
    let containers: Vec<Value> = (0..9).map(|index| json!({"name": format!("c{index}"), "resources": {"limits": limits(index)}})).collect();
    let request = pod(&json!({"containers": containers})).request;
    assert_eq!(request.impossible.as_deref(), Some("container `c1`: the pod has more lines on accelerators than are summed"));
    assert_eq!(request.resources().len(), 600);
}

#[test]
fn amounts_that_cannot_be_make_the_request_impossible_and_say_why() {
    let nines = "9".repeat(32);
    for (limits, expected) in [
        (json!({"nvidia.com/gpu": "1500m"}), "nvidia.com/gpu: 1500m is neither whole devices nor a share of one"),
        (json!({"google.com/tpu": "0.5"}), "google.com/tpu: 0.5 of a device that cannot be shared"),
        (json!({"nvidia.com/gpu": "-1"}), "nvidia.com/gpu: -1: negative"),
        (json!({"nvidia.com/gpu": -1}), "nvidia.com/gpu: -1: negative"),
        (json!({"nvidia.com/gpu": "1e999"}), "nvidia.com/gpu: 1e999: too long or too large for a quantity"),
        (json!({"nvidia.com/gpu": 1e300}), "nvidia.com/gpu: 10000000000000000000000000000000: too long or too large for a quantity"),
        (json!({"nvidia.com/gpu": nines}), "nvidia.com/gpu: 99999999999999999999999999999999 is neither whole devices nor a share of one"),
        (json!({"nvidia.com/gpu": "65537"}), "nvidia.com/gpu: 65537 is more than 65536"),
        (json!({"nvidia.com/gpu": "2E6024865272343"}), "nvidia.com/gpu: 2E6024865272343: too long or too large for a quantity"),
        (json!({"nvidia.com/gpu": "many"}), "nvidia.com/gpu: many: not a quantity"),
        (json!({"gangplank.dev/gpu-milli": "1001"}), "gangplank.dev/gpu-milli: 1001 is more than 1000"),
        (json!({"gangplank.dev/gpu-milli": "0.5"}), "gangplank.dev/gpu-milli: 0.5 is not a whole number"),
        (json!({"gangplank.dev/gpu-memory-mib": "1"}), "gangplank.dev/gpu-memory-mib needs gangplank.dev/gpu-milli beside it"),
        (
            json!({"gangplank.dev/gpu-milli": "100", "nvidia.com/gpu": "500m"}),
            "a fraction beside gangplank.dev/gpu-milli: a container gets one share",
        ),
    ] {
        assert_eq!(asked(&limits), format!("impossible: container `c`: {expected}"), "{limits}");
    }
}

#[test]
fn a_hostile_pod_spoils_neither_its_own_other_containers_nor_the_list() {
    let list = json!([
        {"metadata": {"name": "bad", "uid": "1"}, "spec": {"containers": [
            {"name": "a", "resources": {"limits": {"nvidia.com/gpu": "1e999", "cpu": "1e999", "memory": "-5"}}},
            {"name": "b", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]}},
        {"metadata": {"name": "good", "uid": "2"}, "spec": {"containers": [{"name": "a", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}},
    ]);
    let list: Vec<PodObject> = serde_json::from_value(list).unwrap();
    let pods: Vec<Pod> = list.iter().map(|object| object.to_model(&Profile::shipped().classes).unwrap()).collect();
    assert!(pods[0].request.impossible.is_some() && !pods[0].request.is_empty());
    assert_eq!(pods[0].request.containers.len(), 1);
    assert!(pods[0].cpu_milli > 1_000_000_000 && pods[0].memory_bytes > 1 << 40, "counts as more than any node has");
    assert!(pods[1].request.impossible.is_none());
}

#[test]
fn requests_count_where_limits_are_silent_and_limits_win() {
    let request =
        |resources: Value| pod(&json!({"containers": [{"name": "c", "resources": resources}]})).request.containers[0].whole.clone();
    assert_eq!(request(json!({"requests": {"nvidia.com/gpu": "2"}}))[0].1, 2);
    assert_eq!(request(json!({"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "1"}}))[0].1, 1);
}

#[test]
fn containers_keep_their_place_and_their_role() {
    let gpu = json!({"limits": {"nvidia.com/gpu": "1"}});
    let request = pod(&json!({
        "initContainers": [{"name": "a"}, {"name": "b", "resources": gpu}, {"name": "c", "restartPolicy": "Always", "resources": gpu}],
        "containers": [{"name": "d"}, {"name": "e", "resources": gpu}],
    }))
    .request;
    let seen: Vec<_> = request.containers.iter().map(|container| (&*container.container, container.index, container.role)).collect();
    assert_eq!(seen, [("b", 1, ContainerRole::Init), ("c", 2, ContainerRole::Sidecar), ("e", 1, ContainerRole::Main)]);
}

#[test]
fn cpu_is_summed_as_kube_scheduler_sums_it() {
    let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
    let always = |amount: &str| json!({"name": "s", "restartPolicy": "Always", "resources": cpu(amount)});
    let init = |amount: &str| json!({"name": "i", "resources": cpu(amount)});
    let main = json!([{"name": "c", "resources": cpu("1")}, {"name": "d", "resources": cpu("500m")}]);
    for (spec, milli) in [
        (json!({"containers": main}), 1500),
        (json!({"initContainers": [init("1")], "containers": main}), 1500),
        (json!({"initContainers": [init("4")], "containers": main}), 4000),
        (json!({"initContainers": [init("2"), always("1")], "containers": main}), 2500),
        (json!({"initContainers": [always("1"), init("2")], "containers": main}), 3000),
        (json!({"initContainers": [always("1"), init("2")], "containers": main, "overhead": {"cpu": "100m"}}), 3100),
        (json!({"containers": main, "resources": cpu("3"), "overhead": {"cpu": "100m"}}), 3100),
        (json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]}), 2000),
        (json!({"containers": [{"name": "c"}], "resources": {"limits": {"cpu": "2"}}}), 2000),
        (json!({"containers": main, "resources": {"limits": {"cpu": "9"}}}), 1500),
        (json!({"containers": [], "initContainers": null, "overhead": null, "resources": null}), 0),
    ] {
        assert_eq!(pod(&spec).cpu_milli, milli, "{spec}");
    }
}

#[test]
fn a_term_that_matches_nothing_is_not_one_that_matches_everything() {
    let affinity = |terms: Value| {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        pod(&json!({"affinity": {"nodeAffinity": required}})).constraints.node_affinity
    };
    assert_eq!(pod(&json!({})).constraints.node_affinity, None);
    assert_eq!(affinity(json!([])), Some(vec![]));
    assert_eq!(affinity(json!(null)), Some(vec![]));
    assert_eq!(affinity(json!([{}])), Some(vec![]));
    assert_eq!(affinity(json!([{"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}])), Some(vec![]));
    let terms = affinity(json!([{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["3"]}],
                                 "matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n"]}]}, {}]));
    let terms = terms.unwrap();
    assert_eq!(terms.len(), 1);
    assert_eq!(
        (terms[0][0].operator, terms[0][0].field, terms[0][1].operator, terms[0][1].field),
        (Operator::Gt, false, Operator::NotIn, true)
    );
}

#[test]
fn a_toleration_of_an_unknown_kind_tolerates_nothing() {
    let tolerations = pod(&json!({"tolerations": [
        {"key": "a", "operator": "Lt", "value": "5"},
        {"key": "a", "effect": "NoLunch"},
        {"key": "a", "value": "v", "effect": "NoExecute"},
        {"operator": "Exists"},
    ]}))
    .constraints
    .tolerations;
    assert_eq!(tolerations.len(), 2);
    assert_eq!(
        (tolerations[0].key.as_deref(), tolerations[0].value.as_deref(), tolerations[0].effect),
        (Some("a"), Some("v"), Some(TaintEffect::NoExecute))
    );
    assert_eq!((tolerations[1].key.as_deref(), tolerations[1].value.as_deref(), tolerations[1].effect), (None, None, None));
}

#[test]
fn soft_wishes_are_preferences_and_hard_ones_are_not() {
    let preferred = json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]});
    for (spec, expected) in [
        (json!({}), false),
        (json!({"affinity": {"nodeAffinity": preferred}}), true),
        (json!({"affinity": {"podAffinity": preferred}}), true),
        (json!({"affinity": {"podAntiAffinity": preferred}}), true),
        (json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}), false),
        (json!({"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]}), false),
        (json!({"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}), true),
    ] {
        assert_eq!(pod(&spec).has_preferences, expected, "{spec}");
    }
}

#[test]
fn a_record_counts_only_on_a_bound_pod_that_has_its_containers() {
    let recorded = |node: Value, container: &str, record: &str| {
        let object = json!({"metadata": {"name": "p", "uid": "u", "annotations": {"gangplank.dev/devices": record}},
                            "spec": {"nodeName": node, "containers": [{"name": container}]}});
        serde_json::from_value::<PodObject>(object).unwrap().to_model(&Profile::shipped().classes).unwrap().recorded
    };
    let record = r#"{"main":[{"id":"0","resource":"nvidia.com/gpu"}]}"#;
    assert_eq!(recorded(json!("n1"), "main", record).unwrap().node.as_str(), "n1");
    assert_eq!(recorded(json!(null), "main", record), None);
    assert_eq!(recorded(json!(""), "main", record), None);
    assert_eq!(recorded(json!("n1"), "other", record), None);
    assert_eq!(recorded(json!("n1"), "main", r#"{"main":[{"id":"0"}]}"#), None);
}

#[test]
fn the_life_of_a_pod_is_read_from_where_the_api_keeps_it() {
    let object = json!({
        "metadata": {"name": "p", "namespace": "ml", "uid": "u", "deletionTimestamp": "2026-10-01T12:00:00Z", "managedFields": [{"manager": "m"}]},
        "spec": {"nodeName": "n1", "schedulingGates": [{"name": "gangplank.dev/gang"}], "preemptionPolicy": "Never", "priority": -5},
        "status": {"phase": "Succeeded", "nominatedNodeName": ""},
    });
    let object: PodObject = serde_json::from_value(object).unwrap();
    assert_eq!(object.metadata.managed_fields, None);
    let pod = object.to_model(&Profile::shipped().classes).unwrap();
    assert_eq!((pod.deleting, pod.gated, pod.never_preempts, pod.priority, pod.nominated.clone()), (true, true, true, -5, None));
    assert_eq!((pod.phase, pod.occupies(), pod.request.is_empty()), (PodPhase::Succeeded, false, true));
    let again: PodObject = serde_json::from_value(serde_json::to_value(&object).unwrap()).unwrap();
    assert_eq!(again, object);
}

#[test]
fn a_pod_says_how_its_devices_talk() {
    let pattern = |annotations: Value| {
        let object = json!({"metadata": {"name": "p", "uid": "u", "annotations": annotations}, "spec": {"containers": []}});
        serde_json::from_value::<PodObject>(object).unwrap().to_model(&Profile::shipped().classes).unwrap().request.pattern
    };
    for (annotation, expected) in [("ring", Pattern::Ring), ("clique", Pattern::Clique), ("none", Pattern::Apart), ("star", Pattern::Ring)]
    {
        assert_eq!(pattern(json!({"gangplank.dev/device-pattern": annotation})), expected, "{annotation}");
    }
    assert_eq!(pattern(json!({})), Pattern::Ring);
}

#[test]
fn of_its_volumes_those_that_are_claims_are_known_and_no_others() {
    let volumes = json!([
        {"name": "token", "projected": {"sources": []}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "shared", "readOnly": true}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    ]);
    let pod = pod(&json!({"volumes": volumes}));
    let claims: Vec<&str> = pod.claims.iter().map(AsRef::as_ref).collect();
    assert_eq!(claims, ["shared", &format!("{}-scratch", pod.key.name)]);
}

#[test]
fn a_node_is_blamed_only_for_devices_that_we_granted_and_kubelet_refused() {
    let failed = |phase: &str, reason: &str, granted: bool| {
        let record = r#"{"main":[{"id":"0","resource":"nvidia.com/gpu"}]}"#;
        let annotations = if granted { json!({"gangplank.dev/devices": record}) } else { json!({}) };
        let object = json!({
            "metadata": {"name": "p", "namespace": "ml", "uid": "u", "creationTimestamp": "2026-10-01T12:00:00Z", "annotations": annotations},
            "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
            "status": {"phase": phase, "reason": reason, "startTime": "2026-10-01T12:00:10Z"},
        });
        let object: PodObject = serde_json::from_value(object).unwrap();
        object.node_failure()
    };
    let failure = failed("Failed", "UnexpectedAdmissionError", true).unwrap();
    assert_eq!((failure.node.as_str(), &*failure.why), ("n1", "UnexpectedAdmissionError"));
    assert_eq!(Some(failure.at), annotations::parse_time("2026-10-01T12:00:10Z"));
    for (phase, reason, granted) in [
        ("Failed", "UnexpectedAdmissionError", false),
        ("Running", "UnexpectedAdmissionError", true),
        ("Failed", "Evicted", true),
        ("Failed", "NodeAffinity", true),
        ("Failed", "OutOfcpu", true),
        ("Failed", "", true),
    ] {
        assert_eq!(failed(phase, reason, granted), None, "{phase} {reason} {granted}");
    }
}
