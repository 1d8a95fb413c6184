//! One table for all rules: manifests, and what is said about them as `level rule field`.

use gangplank::check::{self, Facts, Text};

/// What is said about a text, without and with what is known of the cluster.
fn says(facts: &Facts, yaml: &str) -> Vec<String> {
    let text = Text { file: "f.yaml".into(), text: yaml.into() };
    let findings = check::check(&[text], facts).unwrap();
    findings.iter().map(|finding| format!("{} {} {}", finding.level.word(), finding.rule, finding.field)).collect()
}

fn check(yaml: &str, expected: &[&str]) {
    assert_eq!(says(&Facts::default(), yaml), expected, "{yaml}");
}

/// What the text is after `--fix`.
fn fixed(yaml: &str) -> String {
    let text = Text { file: "f.yaml".into(), text: yaml.into() };
    check::fix(&[text], &Facts::default()).unwrap().0.remove(0).text
}

/// A Job of workers with one GPU each.
fn job(spec: &str, pod: &str, container: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec:\n  parallelism: 4\n  completions: 4\n{spec}  template:\n    spec:\n{pod}      containers:\n      - name: c\n        image: a:1\n        resources: {{limits: {{nvidia.com/gpu: 1}}}}\n{container}"
    )
}

fn pod(spec: &str, container: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n{spec}  containers:\n  - name: c\n    image: a:1\n{container}")
}

const INDEXED: &str = "  completionMode: Indexed\n";

#[test]
fn ranks_need_an_index() {
    let rank = "        env:\n        - name: RANK\n          valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['batch.kubernetes.io/job-completion-index']\"}}\n";
    let field = "spec.template.spec.containers[0].env[0].valueFrom.fieldRef.fieldPath";
    check(&job("", "", rank), &[&format!("error rank-without-index {field}")]);
    check(&job("  completionMode: NonIndexed\n", "", rank), &[&format!("error rank-without-index {field}")]);
    check(&job(INDEXED, "", rank), &[]);
    assert_eq!(fixed(&job("", "", rank)).matches("completionMode: Indexed").count(), 1);
    assert!(!fixed(&job("  completionMode: NonIndexed\n", "", rank)).contains("NonIndexed"));
    check(&job("", "", ""), &["warning workers-alike spec.completions"]);
    check(&job(INDEXED, "", ""), &[]);
    let chunks = job("", "", "").replace("parallelism: 4", "parallelism: 2");
    check(&chunks, &[]);
}

#[test]
fn the_world_is_as_large_as_the_job_and_has_an_address() {
    let world =
        |size: &str, more: &str| job(INDEXED, "", &format!("        env:\n        - {{name: WORLD_SIZE, value: \"{size}\"}}\n{more}"));
    check(&world("8", ""), &["error world-size spec.template.spec.containers[0].env[0].value"]);
    check(&world("4", ""), &[]);
    assert_eq!(fixed(&world("8", "")), world("4", ""));
    let eight = world("32", "").replace("nvidia.com/gpu: 1", "gangplank.dev/gpu-milli: 1000");
    assert!(says(&Facts::default(), &eight).iter().any(|said| said.starts_with("error world-size ")));
    let rank = "        - {name: RANK, value: \"0\"}\n";
    check(&world("4", rank), &["note world-without-address spec.template.spec.containers[0].env[0]"]);
    check(&world("4", &format!("{rank}        - {{name: MASTER_ADDR, value: j-0.j}}\n")), &[]);
    check(&world("4", &format!("{rank}        command: [torchrun, --rdzv-endpoint=j-0.j]\n")), &[]);
}

#[test]
fn a_worker_is_not_retried_alone() {
    let policy = |word: &str| job(INDEXED, &format!("      restartPolicy: {word} # so\n"), "");
    check(&policy("OnFailure"), &["warning retried-alone spec.template.spec.restartPolicy"]);
    check(&policy("Never"), &[]);
    assert_eq!(fixed(&policy("OnFailure")), policy("Never"));
}

#[test]
fn parts_of_devices_need_gangplank() {
    let part = |spec: &str, name: &str| pod(spec, &format!("    resources:\n      limits:\n        {name} # half\n"));
    let (half, share) = ("nvidia.com/gpu: 0.5", "gangplank.dev/gpu-milli: 500");
    check(&part("", half), &["error fractional-device spec.containers[0].resources.limits['nvidia.com/gpu']"]);
    check(&part("", share), &["error fractional-device spec.containers[0].resources.limits['gangplank.dev/gpu-milli']"]);
    check(&part("  schedulerName: gangplank\n", share), &[]);
    assert_eq!(fixed(&part("  schedulerName: other\n", half)), part("  schedulerName: gangplank\n", share));
    check(&part("", "nvidia.com/gpu: 1"), &[]);
    assert!(says(&Facts { gangplank: true, ..Facts::default() }, &part("", half)).is_empty());
}

#[test]
fn products_are_those_that_nodes_carry() {
    let selector = |value: &str| pod(&format!("  nodeSelector: {{nvidia.com/gpu.product: {value}}}\n"), "");
    check(&selector("A10"), &["error unknown-product spec.nodeSelector['nvidia.com/gpu.product']"]);
    assert_eq!(fixed(&selector("A10")), selector("NVIDIA-A10"));
    assert_eq!(fixed(&selector("NVIDA-A10")), selector("NVIDIA-A10"));
    // Several are called that: one is not chosen for anybody.
    assert_eq!(fixed(&selector("A100")), selector("A100"));
    check(&selector("NVIDIA-A10"), &[]);
    // A product may be younger than the table of them; nodes that are given say it for sure.
    check(&selector("Vendor-X9000-Ultra"), &["note unknown-product spec.nodeSelector['nvidia.com/gpu.product']"]);
    let list = |values: &str| {
        let rule = format!("{{key: nvidia.com/gpu.product, operator: In, values: [{values}]}}");
        pod(
            &format!(
                "  affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{matchExpressions: [{rule}]}}]}}}}}}\n"
            ),
            "",
        )
    };
    let said = says(&Facts::default(), &list("NVIDIA-A10, L4"));
    assert!(said.len() == 1 && said[0].starts_with("warning unknown-product "), "{said:?}");
    let both = fixed(&list("A100"));
    assert!(both.contains("NVIDIA-A100-SXM4-80GB") && both.contains("NVIDIA-A100-PCIE-40GB") && !both.contains(" A100"), "{both}");
    let mut facts = Facts::default();
    facts.read_nodes("{apiVersion: v1, kind: Node, metadata: {name: n, labels: {nvidia.com/gpu.product: NVIDIA-L4}}}").unwrap();
    assert_eq!(says(&facts, &selector("NVIDIA-A10")).len(), 1);
    let far = says(&facts, &selector("Vendor-X9000-Ultra"));
    assert!(far.len() == 1 && far[0].starts_with("error unknown-product "), "{far:?}");
    assert!(says(&facts, &selector("NVIDIA-L4")).is_empty());
}

#[test]
fn big_workers_are_kept_apart_or_placed_at_once() {
    let big = |pod: &str| {
        let shm = "        volumeMounts: [{name: shm, mountPath: /dev/shm}]\n";
        job(INDEXED, &format!("{pod}      volumes: [{{name: shm, emptyDir: {{}}}}]\n"), shm).replace("gpu: 1", "gpu: 8")
    };
    check(&big(""), &["warning big-workers-together spec.template.spec"]);
    check(&big("      schedulerName: gangplank\n"), &[]);
    assert!(fixed(&big("")).contains("      schedulerName: gangplank\n"));
    let apart = |label: &str| {
        let term = format!("{{labelSelector: {{matchLabels: {{{label}: j}}}}, topologyKey: kubernetes.io/hostname}}");
        big(&format!("      affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}\n"))
    };
    check(&apart("job-name"), &[]);
    let selector = "spec.template.spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector";
    check(&apart("app"), &["warning big-workers-together spec.template.spec", &format!("warning affinity-to-nothing {selector}")]);
    assert!(fixed(&apart("app")).contains("metadata: {labels: {app: j}}"), "{}", fixed(&apart("app")));
}

#[test]
fn devices_that_talk_have_shared_memory() {
    let gpus = |count: u8| pod("", &format!("    resources: {{limits: {{nvidia.com/gpu: {count}, memory: 8Gi}}}}\n"));
    check(&gpus(2), &["warning no-shared-memory spec.containers[0].image"]);
    check(&gpus(1), &[]);
    check(&gpus(1).replace("a:1", "pytorch/pytorch:2.6"), &["warning no-shared-memory spec.containers[0].image"]);
    let fixed = fixed(&gpus(2));
    assert!(fixed.contains("sizeLimit: 4Gi") && fixed.contains("mountPath: /dev/shm"), "{fixed}");
}

#[test]
fn quotas_count_what_is_named() {
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {requests.cpu: 4, limits.memory: 1Gi}}\n---\n";
    let under = |resources: &str| format!("{quota}{}", pod("", resources));
    check(&under(""), &["error no-request-under-quota spec.containers[0]"]);
    check(&under("    resources: {requests: {cpu: 1}}\n"), &["error no-request-under-quota spec.containers[0].resources"]);
    check(&under("    resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}\n"), &[]);
    check(&under("").replace("{name: p}", "{name: p, namespace: other}"), &[]);
    let limits = |other: &str| {
        format!("apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: q}}\nspec: {{hard: {{limits.nvidia.com/gpu: 4{other}}}}}\n")
    };
    check(&limits(""), &["error quota-never-counted spec.hard['limits.nvidia.com/gpu']"]);
    check(&limits(", requests.nvidia.com/gpu: 4"), &["note quota-never-counted spec.hard['limits.nvidia.com/gpu']"]);
}

#[test]
fn secrets_are_read_from_secrets() {
    let url = "postgresql://app:hunter2@db/app";
    let open = pod("", &format!("    command: [serve, --db={url}, --token=abc]\n    env:\n    - {{name: DB, value: \"{url}\"}} # ours\n"));
    check(
        &open,
        &[
            "error secret-in-the-open spec.containers[0].command[1]",
            "error secret-in-the-open spec.containers[0].command[2]",
            "error secret-in-the-open spec.containers[0].env[0].value",
        ],
    );
    let shut = fixed(&open);
    check(&shut, &[]);
    assert!(!shut.contains("hunter2") && !shut.contains("abc") && shut.contains("--db=$(DB)") && shut.contains("# ours"), "{shut}");
    check(&pod("", "    command: [serve, --db=postgresql://app:$(PASSWORD)@db/app, --secret-name=x]\n"), &[]);
    check(&pod("", "    env: [{name: PASSWORD_FILE, value: /run/p}, {name: URL, value: \"http://a:80/b@c\"}]\n"), &[]);
}

#[test]
fn images_are_the_same_tomorrow() {
    for (image, moves) in [
        ("a", true),
        ("host:5000/a", true),
        ("a:latest", true),
        ("a:latest-gpu", true),
        ("a:1", false),
        ("a@sha256:00", false),
        ("host:5000/a:latestish", false),
    ] {
        let said = says(&Facts::default(), &pod("", "").replace("a:1", image));
        assert_eq!(said, if moves { vec!["warning moving-image spec.containers[0].image"] } else { vec![] }, "{image}");
    }
}

#[test]
fn autoscalers_have_something_to_go_by() {
    let scaled = |name: &str, spec: &str, container: &str| {
        let metric = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}";
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: h}}\nspec: {{scaleTargetRef: {{kind: Deployment, name: {name}}}, metrics: [{metric}]}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n{spec}  selector: {{matchLabels: {{a: b}}}}\n  template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: c, image: 'a:1'{container}}}]}}}}\n"
        )
    };
    let requests = ", resources: {requests: {cpu: 1}}";
    check(&scaled("d", "", requests), &[]);
    check(&scaled("x", "", requests), &["error autoscaler-without-measure spec.scaleTargetRef.name"]);
    check(&scaled("d", "", ""), &["error autoscaler-without-measure spec.metrics[0].resource.name"]);
    check(&scaled("d", "  replicas: 2\n", requests), &["warning autoscaler-without-measure spec.replicas"]);
}

#[test]
fn parts_of_traffic_make_a_whole() {
    let traffic = |a: u8, b: &str| {
        format!(
            "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {{name: s}}\nspec:\n  traffic:\n  - {{tag: a, percent: {a}}}\n  - {{tag: b{b}}} # new\n"
        )
    };
    check(&traffic(90, ", percent: 10"), &[]);
    check(&traffic(90, ", percent: 20"), &["error weights-do-not-add-up spec.traffic[1].percent"]);
    check(&traffic(90, ""), &["error weights-do-not-add-up spec.traffic[1]"]);
    assert_eq!(fixed(&traffic(90, ", percent: 20")), traffic(90, ", percent: 10"));
    check(&fixed(&traffic(90, "")), &[]);
    let named = |name: &str| {
        format!(
            "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{template: {{metadata: {{name: {name}}}}}, traffic: [{{revisionName: s-2, percent: 100}}]}}\n"
        )
    };
    check(&named("s-2"), &[]);
    check(&named("s-3"), &["warning weights-do-not-add-up spec.traffic"]);
    let route = |weight: u8| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec: {{rules: [{{backendRefs: [{{name: a, weight: {weight}}}, {{name: b, weight: 0}}]}}]}}\n"
        )
    };
    check(&route(0), &["error weights-do-not-add-up spec.rules[0].backendRefs"]);
    check(&route(3), &[]);
    let canary = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: i}\nspec: {predictor: {canaryTrafficPercent: 110}}\n";
    check(canary, &["error weights-do-not-add-up spec.predictor.canaryTrafficPercent"]);
}

#[test]
fn selectors_match_something() {
    let service = |label: &str| {
        let pod = pod("", "").replace("{name: p}", "{name: p, labels: {app: a}}");
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{selector: {{app: {label}}}}}\n---\n{pod}")
    };
    check(&service("b"), &["error selector-matches-nothing spec.selector"]);
    check(&service("a"), &[]);
    // Without any pods nothing can be known.
    check(service("b").split("---").next().unwrap(), &[]);
    let own = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: 'a:1'}]}}}\n";
    check(own, &["error selector-matches-nothing spec.selector"]);
}

#[test]
fn what_is_mounted_or_named_is_there() {
    let mount = "    volumeMounts: [{name: data, mountPath: /data}]\n";
    check(&pod("", mount), &["error mount-without-volume spec.containers[0].volumeMounts[0].name"]);
    check(&pod("  volumes: [{name: data, emptyDir: {}}]\n", mount), &[]);
    check(&fixed(&pod("", mount)), &[]);
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: training-data}\nspec: {accessModes: [ReadWriteMany]}\n";
    let named = |name: &str| pod(&format!("  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {name}}}}}]\n"), mount);
    check(&format!("{claim}---\n{}", named("trainig-data")), &["note not-in-these-files spec.volumes[0].persistentVolumeClaim.claimName"]);
    check(&format!("{claim}---\n{}", named("training-data")), &[]);
    check(&named("training-data"), &[]);
    check(&claim.replace("ReadWriteMany", "ReadOnlyMany"), &["note claim-never-written spec.accessModes"]);
}
