//! Training jobs: what people forget is in them, and a mistake says what to write.

use serde_json::{Value, json};

use crate::recipe::{Rendered, read};

fn spec(body: &str) -> String {
    let body = body.replace('\n', "\n  ");
    format!(
        "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: bert}}\nspec:\n  image: ghcr.io/team/train:1.4\n  {body}\n"
    )
}

fn rendered(body: &str) -> Rendered {
    let specs = read(&spec(body)).unwrap_or_else(|error| panic!("{error}"));
    specs[0].render(None).unwrap()
}

fn job(body: &str) -> Value {
    let mut objects = rendered(body).objects;
    let job = objects.pop().unwrap();
    assert_eq!(job["kind"], "Job");
    job
}

fn main(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]["containers"][0]
}

/// The environment of a worker as kubelet makes it.
fn environment(job: &Value, index: u32) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for entry in main(job)["env"].as_array().unwrap() {
        let mut value = entry["value"].as_str().map_or_else(|| index.to_string(), str::to_owned);
        for (name, earlier) in &all {
            value = value.replace(&format!("$({name})"), earlier);
        }
        all.push((entry["name"].as_str().unwrap().to_owned(), value));
    }
    all
}

fn variable(job: &Value, index: u32, name: &str) -> Option<String> {
    environment(job, index).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[test]
fn several_workers_are_an_indexed_job_with_names_of_their_own() {
    let rendered = rendered("framework: pytorch\nworkers: 4\naccelerators: H100:8");
    let [service, job] = rendered.objects.as_slice() else { panic!("{rendered:?}") };
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(service["spec"]["selector"], json!({"batch.kubernetes.io/job-name": "bert"}));
    let spec = &job["spec"];
    assert_eq!((&spec["completionMode"], &spec["parallelism"], &spec["completions"]), (&json!("Indexed"), &json!(4), &json!(4)));
    assert_eq!(spec["template"]["spec"]["subdomain"], service["metadata"]["name"]);
    assert_eq!(spec["template"]["spec"]["schedulerName"], "gangplank");
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Never", "a pod failure policy wants it");
    assert_eq!((&spec["backoffLimitPerIndex"], &spec["maxFailedIndexes"]), (&json!(3), &json!(0)));
    assert_eq!(spec["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["type"], "DisruptionTarget");
}

#[test]
fn one_worker_needs_no_service_and_finds_itself() {
    let rendered = rendered("framework: pytorch\ngpu: 1");
    assert_eq!(rendered.objects.len(), 1);
    assert_eq!(variable(&rendered.objects[0], 0, "MASTER_ADDR").as_deref(), Some("localhost"));
    assert_eq!(variable(&job("framework: tensorflow\ngpu: 1"), 0, "TF_CONFIG"), None);
    assert_eq!(variable(&job("framework: jax\ngpu: 1"), 0, "JAX_COORDINATOR_ADDRESS"), None);
}

#[test]
fn every_framework_tells_each_worker_who_it_is() {
    let all = |framework: &str| job(&format!("framework: {framework}\nworkers: 4\ngpu: 2\ncommand: [run]"));
    for (framework, name, expected) in [
        ("pytorch", "MASTER_ADDR", "bert-0.bert"),
        ("pytorch", "MASTER_PORT", "29500"),
        ("pytorch", "WORLD_SIZE", "4"),
        ("pytorch", "RANK", "2"),
        ("pytorch", "PET_NNODES", "4"),
        ("pytorch", "PET_NPROC_PER_NODE", "2"),
        ("pytorch", "PET_NODE_RANK", "2"),
        ("jax", "JAX_COORDINATOR_ADDRESS", "bert-0.bert:1234"),
        ("jax", "JAX_NUM_PROCESSES", "4"),
        ("jax", "JAX_PROCESS_ID", "2"),
        ("plain", "RANK", "2"),
        ("plain", "WORLD_SIZE", "4"),
        ("mpi", "RANK", "2"),
        ("mpi", "NCCL_DEBUG", "WARN"),
    ] {
        assert_eq!(variable(&all(framework), 2, name).as_deref(), Some(expected), "{framework} {name}");
    }
    let config: Value = serde_json::from_str(&variable(&all("tensorflow"), 3, "TF_CONFIG").unwrap()).unwrap();
    assert_eq!(config["task"], json!({"type": "worker", "index": 3}));
    assert_eq!(config["cluster"]["worker"][1], "bert-1.bert:2222");
    assert_eq!(config["cluster"]["worker"].as_array().unwrap().len(), 4);
}

#[test]
fn a_rank_is_read_from_the_index_that_only_indexed_jobs_have() {
    let job = job("framework: plain\nworkers: 2");
    let rank = main(&job)["env"].as_array().unwrap().iter().find(|entry| entry["name"] == "RANK").unwrap().clone();
    assert_eq!(rank["valueFrom"]["fieldRef"]["fieldPath"], "metadata.annotations['batch.kubernetes.io/job-completion-index']");
    assert_eq!(job["spec"]["completionMode"], "Indexed");
}

#[test]
fn a_tpu_slice_says_how_many_workers_there_are() {
    let job = job("framework: jax\naccelerators: tpu-v5e:4x4");
    assert_eq!(job["spec"]["completions"], 4);
    assert_eq!(main(&job)["resources"]["limits"]["google.com/tpu"], 4);
    assert_eq!(variable(&job, 1, "TPU_WORKER_ID").as_deref(), Some("1"));
    assert_eq!(variable(&job, 1, "TPU_WORKER_HOSTNAMES").as_deref(), Some("bert-0.bert,bert-1.bert,bert-2.bert,bert-3.bert"));
}

#[test]
fn an_elastic_job_starts_with_the_fewest_and_ends_with_the_first() {
    let job = job("framework: pytorch\nworkers: 4..16\ngpu: 8");
    let annotations = &job["spec"]["template"]["metadata"]["annotations"];
    assert_eq!((&annotations["gangplank.dev/gang-size"], &annotations["gangplank.dev/gang-min"]), (&json!("16"), &json!("4")));
    assert_eq!(variable(&job, 0, "PET_NNODES").as_deref(), Some("4:16"));
    assert_eq!(job["spec"]["successPolicy"]["rules"][0]["succeededIndexes"], "0");
}

#[test]
fn mpi_runs_the_command_in_the_first_worker_and_sshd_in_the_others() {
    let rendered = rendered("framework: mpi\nworkers: 2\ngpu: 8\ncommand: [mpirun, train]");
    let [files, _, job] = rendered.objects.as_slice() else { panic!("{rendered:?}") };
    assert_eq!(files["data"]["hostfile"], "bert-0.bert slots=8\nbert-1.bert slots=8\n");
    assert_eq!(main(job)["command"], json!(["/bin/sh", "/etc/mpi/start.sh", "mpirun", "train"]));
    assert_eq!(job["spec"]["successPolicy"]["rules"][0]["succeededIndexes"], "0");
    assert!(rendered.notes.iter().any(|note| note.contains("Secret bert-ssh")), "{:?}", rendered.notes);
}

#[test]
fn a_pod_is_restricted_and_has_what_programs_need() {
    let job = job("gpu: 1\nmemory: 8Gi\ndatasets: {/data: set/imagenet}\noutputs: {/out: results}\nconfig: {/etc/app: {a.yaml: {b: 1}}}");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(main(&job)["securityContext"], json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}));
    assert_eq!(pod["automountServiceAccountToken"], false);
    let shm = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "shm").unwrap().clone();
    assert_eq!(shm["emptyDir"], json!({"medium": "Memory", "sizeLimit": "4096Mi"}), "half of the memory");
    let mounts = main(&job)["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts[0], json!({"name": "data-0", "mountPath": "/data", "readOnly": true, "subPath": "imagenet"}));
    assert_eq!(mounts[1], json!({"name": "data-1", "mountPath": "/out"}));
    assert!(pod["tolerations"].as_array().unwrap().iter().any(|it| it["key"] == "nvidia.com/gpu"));
}

#[test]
fn what_the_user_sets_wins_but_for_what_makes_the_group() {
    let job = job("framework: pytorch\nworkers: 2\ngpu: 1\nenv: {NCCL_DEBUG: INFO, MASTER_PORT: 4000}\nnetwork: {interface: eth0}");
    assert_eq!(variable(&job, 0, "NCCL_DEBUG").as_deref(), Some("INFO"));
    assert_eq!(variable(&job, 0, "MASTER_PORT").as_deref(), Some("4000"));
    assert_eq!(variable(&job, 0, "NCCL_SOCKET_IFNAME").as_deref(), Some("eth0"));
    let names: Vec<String> = environment(&job, 0).into_iter().map(|(name, _)| name).collect();
    let mut unique = names.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(names.len(), unique.len(), "{names:?}");
}

#[test]
fn mistakes_name_line_field_and_remedy() {
    for (body, message) in [
        ("workers: 0", "line 6: spec.workers: `0` is no number of workers; write a number within 1..=10000, or a range: 4..16"),
        ("workers: 8..4", "spec.workers: `8..4` is no number of workers"),
        ("framework: pytroch", "line 6: spec.framework: there is no framework `pytroch`; did you mean `pytorch`?"),
        ("acelerators: H100:8", "line 6: spec.acelerators: there is no field `acelerators`; did you mean `accelerators`?"),
        ("accelerators: H1OO:8", "line 6: spec.accelerators: there is no accelerator `H1OO`; did you mean `H100`?"),
        ("accelerators: H100:8\ngpu: 8", "spec.gpu: stands beside `accelerators`; keep one of the two"),
        ("accelerators: tpu-v5e:4x4\nworkers: 2", "spec.workers: a TPU slice of 4x4 takes 4 workers"),
        ("framework: jax\nworkers: 2..4", "jax cannot go on with fewer workers; write one number, or use pytorch or plain"),
        ("framework: pytorch\nenv: {RANK: 0}", "spec.env.RANK: is what pytorch workers find each other by"),
        ("framework: mpi", "spec.command: is missing"),
        (
            "checkpoint: {path: /tmp/x}",
            "spec.checkpoint.path: `/tmp/x` is on no claim, and is lost with its pod; name a folder of `outputs`",
        ),
        ("topology: {required: 'no rack'}", "spec.topology.required: `no rack` is no level"),
        ("retries: 101", "101 is not within 0..=100"),
        ("expectedDuration: soon", "`soon` is not a time; write such as 90s"),
        ("memory: lots", "spec.memory: `lots` is not an amount"),
        ("gpu: 1.5", "spec.gpu: `1.5` is no number of GPUs"),
        ("gpu: -1", "no number of GPUs"),
        ("products: [A100]", "spec.products: stands without `gpu`"),
        ("user: 0", "spec.user: is root"),
        ("config: {/etc/app: {a.ini: {b: 1}}}", "is a mapping, and the name does not say how to write it"),
    ] {
        let error = read(&spec(body)).map(|specs| format!("{specs:?}")).unwrap_err().to_string();
        assert!(error.contains(message), "{body}: {error}");
    }
}
