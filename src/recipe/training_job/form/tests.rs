//! Other forms of a training job carry what the Job carries, and call hosts by the names that they have there.

use serde_json::{Value, json};

use crate::recipe::{Rendered, SpecError, read};

fn tried(form: Option<&str>, body: &str) -> Result<Rendered, SpecError> {
    let body = body.replace('\n', "\n  ");
    let text =
        format!("apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: bert}}\nspec:\n  image: 'a/b:1'\n  {body}\n");
    read(&text)?[0].render(form)
}

fn rendered(form: Option<&str>, body: &str) -> Vec<Value> {
    tried(form, body).unwrap_or_else(|error| panic!("{body}: {error}")).objects
}

/// The JobSet of a form: Trainer makes it of the runtime.
fn job_set(objects: &[Value]) -> Value {
    let made = objects.iter().find_map(|object| match object["kind"].as_str()? {
        "JobSet" => Some(object.clone()),
        "TrainingRuntime" => {
            let template = &object["spec"]["template"];
            let mut metadata = template["metadata"].clone();
            metadata["name"] = object["metadata"]["name"].clone();
            Some(json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": metadata, "spec": template["spec"]}))
        }
        _ => None,
    });
    made.unwrap_or_else(|| panic!("{objects:?}"))
}

fn workers(set: &Value) -> &Value {
    &set["spec"]["replicatedJobs"][0]["template"]["spec"]
}

const EVERYTHING: &str = "framework: FRAMEWORK
command: [run, train]
args: [--fast]
workers: 4
accelerators: H100:8
cpu: 32
memory: 512Gi
shm: 64Gi
env: {A: b}
secretEnv: {TOKEN: hub/token}
datasets: {/data: imagenet/train}
outputs: {/output: results}
config: {/etc/app: {a.yaml: {b: 1}}}
containers: [{name: logger, image: 'a/logger:1'}]
checkpoint: {path: /output/checkpoints, every: 30m, grace: 2m}
topology: {preferred: rack}
ownNodes: true
priority: high
profile: training
nodeLabels: {zone: a}
network: {interface: eth0, rdma: 'rdma/hca:1'}
serviceAccount: trainer
pullSecret: registry
user: 1234
scheduler: gangplank
expectedDuration: 8h";

#[test]
fn every_form_has_the_same_pod_by_other_host_names() {
    for framework in ["pytorch", "tensorflow", "jax", "mpi", "plain"] {
        let body = EVERYTHING.replace("FRAMEWORK", framework);
        let plain = rendered(None, &body);
        let mut wanted = plain.last().unwrap()["spec"]["template"].clone();
        assert_eq!(wanted["spec"].as_object_mut().unwrap().remove("subdomain"), Some(json!("bert")), "a JobSet sets it itself");
        for (form, role, container) in [("jobset", "workers", "main"), ("trainjob", "node", "node")] {
            let objects = rendered(Some(form), &body);
            let set = job_set(&objects);
            let mut template = workers(&set)["template"].clone();
            assert_eq!(template["spec"]["containers"][0]["name"], container);
            template["spec"]["containers"][0]["name"] = json!("main");
            let text = template.to_string();
            assert!(!text.contains("bert-0.bert"), "{framework} --as {form}: a host that is not there: {text}");
            let renamed = text.replace(&format!("bert-{role}-0-"), "bert-").replace(&format!("[\"bert-{role}-0\"]"), "[\"bert\"]");
            assert_eq!(serde_json::from_str::<Value>(&renamed).unwrap(), wanted, "{framework} --as {form}");
            // Claims and files stand beside it; the Service is JobSet's own.
            let kinds = |objects: &[Value]| objects.iter().filter(|object| object["kind"] == "ConfigMap").count();
            assert_eq!(kinds(&objects), kinds(&plain));
            assert!(objects.iter().all(|object| object["kind"] != "Service"));
            if framework == "mpi" {
                let hosts = objects.iter().find_map(|object| object["data"]["hostfile"].as_str()).unwrap();
                assert!(hosts.starts_with(&format!("bert-{role}-0-0.bert slots=8\n")), "{hosts}");
            }
        }
    }
}

#[test]
fn every_form_starts_as_many_workers_and_gives_names_before_they_are_ready() {
    for form in ["jobset", "trainjob"] {
        let set = job_set(&rendered(Some(form), "framework: pytorch\nworkers: 4\ngpu: 8"));
        let job = workers(&set);
        assert_eq!((&job["parallelism"], &job["completions"], &job["completionMode"]), (&json!(4), &json!(4), &json!("Indexed")));
        assert_eq!(set["spec"]["network"], json!({"enableDNSHostnames": true, "publishNotReadyAddresses": true}));
        let codes = &job["podFailurePolicy"]["rules"][1]["onExitCodes"];
        assert_eq!(codes["containerName"], job["template"]["spec"]["containers"][0]["name"]);
    }
}

#[test]
fn where_a_worker_fails_all_begin_anew_unless_the_others_can_go_on() {
    for form in ["jobset", "trainjob"] {
        let fixed = job_set(&rendered(Some(form), "framework: pytorch\nworkers: 4\nretries: 7"));
        assert_eq!((&fixed["spec"]["failurePolicy"]["maxRestarts"], &workers(&fixed)["backoffLimit"]), (&json!(7), &json!(0)));
        assert_eq!(workers(&fixed)["backoffLimitPerIndex"], Value::Null);
        assert_eq!(fixed["metadata"]["annotations"], Value::Null);
        let elastic = job_set(&rendered(Some(form), "framework: pytorch\nworkers: 4..16\nretries: 7"));
        assert_eq!((&elastic["spec"]["failurePolicy"]["maxRestarts"], &workers(&elastic)["backoffLimitPerIndex"]), (&json!(0), &json!(7)));
        assert_eq!(elastic["metadata"]["annotations"]["gangplank.dev/gang-min"], "4");
        assert_eq!(workers(&elastic)["successPolicy"]["rules"][0]["succeededIndexes"], "0");
    }
}

#[test]
fn times_and_queues_stand_where_each_form_has_them() {
    let body = "workers: 2\nmaxDuration: 2h\nqueue: team";
    let queue = |object: &Value| object["metadata"]["labels"]["kueue.x-k8s.io/queue-name"].clone();
    let objects = rendered(Some("jobset"), &format!("{body}\nkeep: 1d"));
    let [set] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!((&workers(set)["activeDeadlineSeconds"], &set["spec"]["ttlSecondsAfterFinished"]), (&json!(7200), &json!(86400)));
    assert_eq!(queue(set), "team");
    let objects = rendered(Some("trainjob"), body);
    let [runtime, job] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!((&job["spec"]["activeDeadlineSeconds"], queue(job)), (&json!(7200), json!("team")));
    let named = &job["spec"]["runtimeRef"];
    assert_eq!((&named["kind"], &named["name"]), (&runtime["kind"], &runtime["metadata"]["name"]));
    let labels = &runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["metadata"]["labels"];
    assert_eq!(labels["trainer.kubeflow.org/trainjob-ancestor-step"], "trainer", "Trainer finds the workers by it");
}

#[test]
fn what_a_form_cannot_say_is_refused() {
    let long = "x".repeat(53);
    for (form, body, message) in [
        ("trainjob", "keep: 1d".to_owned(), "line 6: spec.keep: cannot be said in a TrainJob"),
        ("trainjob", "containers: [{name: node, image: 'a/b:1'}]".to_owned(), "spec.containers[0].name: is what Trainer calls"),
        ("kueue", "workers: 2".to_owned(), "there is no form of a TrainingJob `kueue`"),
    ] {
        let error = tried(Some(form), &body).unwrap_err().to_string();
        assert!(error.contains(message), "{body}: {error}");
    }
    let text = format!(
        "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: {long}}}\nspec: {{image: 'a/b:1', workers: 2}}\n"
    );
    let spec = read(&text).unwrap();
    assert!(spec[0].render(None).is_ok());
    let error = spec[0].render(Some("jobset")).unwrap_err().to_string();
    assert!(error.contains("makes host names of 65 letters in this form"), "{error}");
}
