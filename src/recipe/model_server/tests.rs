//! Model servers: what keeps them up is there, and every form says what it cannot say.

use serde_json::{Value, json};

use crate::recipe::{Rendered, SpecError, read};

fn spec(body: &str) -> String {
    let body = body.replace('\n', "\n  ");
    format!("apiVersion: gangplank.dev/v1alpha1\nkind: ModelServer\nmetadata: {{name: bert}}\nspec:\n  {body}\n")
}

pub(super) fn tried(body: &str, form: Option<&str>) -> Result<Rendered, SpecError> {
    read(&spec(body))?[0].render(form)
}

pub(super) fn rendered(body: &str, form: Option<&str>) -> Vec<Value> {
    tried(body, form).unwrap_or_else(|error| panic!("{body}: {error}")).objects
}

pub(super) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

const PLAIN: &str = "image: ghcr.io/team/serve:1.0\ncpu: 1";

#[test]
fn a_server_is_asked_for_its_health_and_ends_in_order() {
    let objects = rendered("runtime: tensorflow-serving\nmodel: models/resnet\nmodelName: resnet\ngpu: 1", None);
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"], json!({"path": "/v1/models/resnet", "port": 8501}), "{probe}");
    }
    assert_eq!(container["startupProbe"]["failureThreshold"], 60, "ten minutes");
    assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/models/resnet");
    assert_eq!(pod["schedulerName"], "gangplank");
    assert!(of_kind(&objects, "PodDisruptionBudget").is_empty(), "one replica: a budget would block every drain");
    let service = of_kind(&objects, "Service")[0];
    assert_eq!(service["spec"]["ports"][0], json!({"name": "http", "port": 8501, "targetPort": 8501}));
}

#[test]
fn a_range_of_replicas_is_an_autoscaler_and_leaves_their_number_to_it() {
    let objects = rendered(&format!("{PLAIN}\nreplicas: 2..10\nautoscale: {{cpu: 70, perReplica: {{requests_per_second: 100}}}}"), None);
    let deployment = of_kind(&objects, "Deployment")[0];
    assert!(deployment["spec"]["replicas"].is_null(), "applied again it would undo the autoscaler's work");
    let scaler = &of_kind(&objects, "HorizontalPodAutoscaler")[0]["spec"];
    assert_eq!((&scaler["minReplicas"], &scaler["maxReplicas"]), (&json!(2), &json!(10)));
    assert_eq!(scaler["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    assert_eq!(scaler["metrics"][1]["pods"]["metric"]["name"], "requests_per_second");
    assert_eq!(of_kind(&objects, "PodDisruptionBudget").len(), 1);
}

#[test]
fn a_candidate_has_its_part_of_the_replicas_behind_the_same_service() {
    for (replicas, weight, stable, candidate) in [(10, 10, 9, 1), (3, 10, 2, 1), (4, 50, 2, 2), (2, 99, 1, 1), (3, 0, 3, 0), (3, 100, 0, 3)]
    {
        let body = format!("{PLAIN}\nreplicas: {replicas}\ncanary: {{image: 'ghcr.io/team/serve:2.0', weight: {weight}}}");
        let objects = rendered(&body, None);
        let counts: Vec<&Value> = of_kind(&objects, "Deployment").iter().map(|it| &it["spec"]["replicas"]).collect();
        assert_eq!(counts, [&json!(stable), &json!(candidate)], "{replicas} at {weight} %");
        let selector = &of_kind(&objects, "Service")[0]["spec"]["selector"];
        assert_eq!(selector, &json!({"app.kubernetes.io/name": "bert"}));
    }
    let notes = tried(&format!("{PLAIN}\nreplicas: 3\ncanary: {{image: 'a/b:2', weight: 10}}"), None).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("33 % and not 10")), "{notes:?}");
}

#[test]
fn selectors_of_two_deployments_never_meet() {
    let objects = rendered(&format!("{PLAIN}\nreplicas: 4\ncanary: {{image: 'a/b:2', weight: 50}}"), None);
    for deployment in of_kind(&objects, "Deployment") {
        let (selector, labels) = (&deployment["spec"]["selector"]["matchLabels"], &deployment["spec"]["template"]["metadata"]["labels"]);
        assert!(selector.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value), "{deployment}");
    }
    let [stable, candidate] = of_kind(&objects, "Deployment")[..] else { panic!() };
    assert_ne!(stable["spec"]["selector"], candidate["spec"]["selector"]);
    assert_eq!(candidate["spec"]["template"]["spec"]["containers"][0]["image"], "a/b:2");
}

#[test]
fn a_route_weighs_exactly_and_goes_by_headers() {
    let body = format!(
        "{PLAIN}\nreplicas: 2..10\nroute: {{gateway: public, hosts: [bert.example.com]}}\ncanary: {{image: 'a/b:2', weight: 10, headers: {{x-group: b}}}}"
    );
    let objects = rendered(&body, Some("httproute"));
    let rules = &of_kind(&objects, "HTTPRoute")[0]["spec"]["rules"];
    assert_eq!(rules[0]["matches"][0]["headers"][0], json!({"name": "x-group", "value": "b"}));
    let weights: Vec<&Value> = rules[1]["backendRefs"].as_array().unwrap().iter().map(|it| &it["weight"]).collect();
    assert_eq!(weights, [&json!(90), &json!(10)]);
    let services: Vec<&Value> = of_kind(&objects, "Service").iter().map(|it| &it["metadata"]["name"]).collect();
    for backend in rules[1]["backendRefs"].as_array().unwrap() {
        assert!(services.contains(&&backend["name"]), "{backend}");
    }
}

#[test]
fn knative_and_kserve_say_the_same_in_their_words() {
    let body = "image: a/b:1\nreplicas: 2..20\ngpu: 1\ncpu: 1\nrevision: v1\ncanary: {image: 'a/b:2', weight: 10, revision: v2}";
    let service = &rendered(body, Some("knative"))[0];
    assert_eq!(service["spec"]["traffic"][0], json!({"tag": "current", "revisionName": "bert-v1", "percent": 90}));
    assert_eq!(service["spec"]["traffic"][1], json!({"tag": "candidate", "revisionName": "bert-v2", "percent": 10}));
    assert_eq!(service["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/min-scale"], "2");
    let body =
        "runtime: tensorflow-serving\nmodel: s3://models/bert\ngpu: 1\ncpu: 1\nconcurrency: 10\ntransformer: {name: pre, image: 'a/pre:1'}";
    let service = &rendered(body, Some("kserve"))[0];
    assert_eq!(service["spec"]["predictor"]["model"]["storageUri"], "s3://models/bert");
    assert_eq!(service["spec"]["predictor"]["containerConcurrency"], 10);
    assert_eq!(service["spec"]["transformer"]["containers"][0]["name"], "pre");
}

#[test]
fn what_is_shut_to_others_stays_open_to_prometheus() {
    let body = format!(
        "{PLAIN}\nport: 8501\nallowFrom: {{namespaces: {{purpose: application}}, pods: {{role: frontend}}}}\n\
         monitoring: {{interval: 15s, latencySeconds: 0.1, latencyMetric: latency_seconds}}"
    );
    let objects = rendered(&body, None);
    let ingress = &of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"];
    assert_eq!(ingress[0]["from"][0]["namespaceSelector"]["matchLabels"]["purpose"], "application");
    assert_eq!(ingress[0]["ports"], json!([{"protocol": "TCP", "port": 8501}]));
    assert_eq!(ingress[1]["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "monitoring");
    let rules = &of_kind(&objects, "PrometheusRule")[0]["spec"]["groups"][0]["rules"];
    assert!(rules[1]["expr"].as_str().unwrap().contains("latency_seconds_bucket"), "{rules}");
}

#[test]
fn to_zero_goes_only_what_can_come_back() {
    let body = |more: &str| format!("{PLAIN}\nreplicas: 0..5\n{more}");
    let query = "autoscale: {prometheus: {server: 'http://prometheus.monitoring:9090', query: sum(queue_length), threshold: 5}}";
    let objects = rendered(&body(query), Some("keda"));
    let scaled = &of_kind(&objects, "ScaledObject")[0]["spec"];
    assert_eq!((&scaled["minReplicaCount"], &scaled["triggers"][0]["type"]), (&json!(0), &json!("prometheus")));
    let error = tried(&body("concurrency: 1"), Some("keda")).unwrap_err().to_string();
    assert!(error.contains("spec.autoscale: says nothing that is there while no replica is"), "{error}");
    let error = tried(&body("concurrency: 1"), None).unwrap_err().to_string();
    assert!(error.starts_with("line 7: spec.replicas: begins at 0"), "{error}");
}

#[test]
fn mistakes_name_line_field_and_remedy() {
    for (body, form, message) in [
        ("runtime: vlm\nmodel: x", None, "spec.runtime: there is no runtime `vlm`; did you mean `vllm`?"),
        ("runtime: vllm", None, "spec.model: is missing: vllm serves nothing without it"),
        ("cpu: 1", None, "spec.image: is missing"),
        ("image: a/b:1\nreplicas: 2..10", None, "spec.autoscale.cpu: is a part of nothing: no `cpu` is asked for"),
        ("image: a/b:1\nreplicas: 3\nautoscale: {cpu: 70}", None, "spec.autoscale: stands beside a fixed number of replicas"),
        ("image: a/b:1\nport: 80", None, "spec.port: 80 is for root alone"),
        ("image: a/b:1\nmodel: /models", None, "folders of the node are not to be had"),
        ("image: a/b:1\nmodel: 's3://user:pass@host/x'", None, "spec.model: has a password in it"),
        ("image: a/b:1\nmodel: 'ftp://host/x'", None, "is of no scheme that servers read"),
        ("image: a/b:1\ncanary: {image: 'a/b:2', weight: 101}", None, "101 is not within 0..=100"),
        ("image: a/b:1\ncanary: {image: 'a/b:2', weight: 10}", None, "spec.replicas: is 1, which cannot be divided"),
        ("image: a/b:1\nallowFrom: {}", None, "spec.allowFrom: names nobody"),
        ("image: a/b:1\nmonitoring: {latencySeconds: 0.1}", None, "add `latencyMetric`"),
        ("image: a/b:1\nmonitoring: {latencyMetric: 'x) or vector(1'}", None, "is not the name of a metric"),
        ("image: a/b:1\nmonitoring: {path: '/metrics?x={{y}}'}", None, "is no path of a request"),
        ("image: a/b:1", Some("httproute"), "spec.route: is missing"),
        ("image: a/b:1", Some("kserve"), "spec.runtime: is plain, which is no format of KServe's"),
        ("image: a/b:1", Some("keda"), "spec.replicas: is one number"),
        ("image: a/b:1", Some("knativ"), "there is no form of a ModelServer `knativ`; did you mean `knative`?"),
        ("image: a/b:1\naccelerators: tpu-v5e:4x4", None, "is a slice of several hosts"),
    ] {
        let error = tried(body, form).map(|made| format!("{made:?}")).unwrap_err().to_string();
        assert!(error.contains(message), "{body}: {error}");
    }
}
