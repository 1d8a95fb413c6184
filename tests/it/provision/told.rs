//! What is read from an API server's log endpoint and from a running Gangplank, before servers that answer as those do: metrics of
//! trials, the lines of workers that Trainer made, starts.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::provision;

/// Answers GET requests by a function of their path; everything else is not there.
struct Fake {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn answering(answer: fn(&str) -> Option<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, noted) = (stream.unwrap(), Arc::clone(&noted));
                std::thread::spawn(move || one(stream, answer, &noted));
            }
        });
        Self { address, asked }
    }

    fn kubeconfig(&self, name: &str) -> PathBuf {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.kubeconfig", std::process::id()));
        let cluster = json!({"name": "c", "cluster": {"server": format!("http://{}", self.address)}});
        let context = json!({"name": "c", "context": {"cluster": "c", "user": "u"}});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}],
        });
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn was_asked(&self, part: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|path| path.contains(part))
    }
}

fn one(mut stream: TcpStream, answer: fn(&str) -> Option<String>, noted: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
    let (code, body) = match answer(&path) {
        Some(body) => ("200 OK", body),
        None => (
            "404 Not Found",
            json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "none"}).to_string(),
        ),
    };
    noted.lock().unwrap().push(path);
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let _ = write!(stream, "HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
}

/// What a group serves, as discovery says it.
fn serves(group: &str, plural: &str, kind: &str) -> String {
    let resource = json!({"name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": [resource]}).to_string()
}

fn pod(name: &str, index: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"batch.kubernetes.io/job-completion-index": index}},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": phase},
    })
}

fn list(pods: &[Value]) -> String {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}).to_string()
}

const SWEEP: &str = "apiVersion: gangplank.dev/v1alpha1\nkind: Sweep\nmetadata: {name: s, namespace: default}\n\
    spec: {search: grid, metric: {name: loss, goal: minimize}, parameters: {lr: {values: [1, 2, 3]}}, job: {image: 'a/b:1'}}\n";

#[test]
fn the_best_trial_is_told_by_the_logs_that_the_api_server_hands_out() {
    let fake = Fake::answering(|path| match path.split('?').next()? {
        "/apis/batch/v1" => Some(serves("batch/v1", "jobs", "Job")),
        "/apis/batch/v1/namespaces/default/jobs/s" => Some(
            json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "s", "namespace": "default"}, "spec": {"completions": 3}})
                .to_string(),
        ),
        "/api/v1/namespaces/default/pods" => {
            Some(list(&[pod("s-0", "0", "Succeeded"), pod("s-1", "1", "Succeeded"), pod("s-2", "2", "Running")]))
        }
        "/api/v1/namespaces/default/pods/s-0/log" => Some("epoch 1 loss=0.125\nepoch 2 loss=0.5\n".into()),
        "/api/v1/namespaces/default/pods/s-1/log" => Some("\"loss\": 0.25\nbye\n".into()),
        "/api/v1/namespaces/default/pods/s-2/log" => Some("not yet\n".into()),
        _ => None,
    });
    let kubeconfig = fake.kubeconfig("logs-of-trials");
    let output = provision(&["status", "-o", "json", "--kubeconfig", kubeconfig.to_str().unwrap(), "--", "-"], SWEEP);
    fs::remove_file(&kubeconfig).unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let trials: Vec<&Value> = told.as_array().unwrap().iter().filter(|row| row["kind"] == "Trial").collect();
    let metrics: Vec<(Option<f64>, bool)> = trials.iter().map(|row| (row["metric"].as_f64(), row["best"] == true)).collect();
    assert_eq!(metrics, [(Some(0.5), false), (Some(0.25), true), (None, false)], "what is said last counts: {told}");
    assert!(fake.was_asked("/pods/s-0/log?") && fake.was_asked("container=main") && fake.was_asked("tailLines=5000"));
}

const TRAIN: &str = "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {name: m, namespace: default}\n\
    spec: {image: 'a/b:1', workers: 2, accelerators: 'H100:8'}\n";

#[test]
fn logs_find_the_workers_of_a_train_job_without_being_told_the_form() {
    let fake = Fake::answering(|path| match path.split('?').next()? {
        "/apis/batch/v1" => Some(serves("batch/v1", "jobs", "Job")),
        "/apis/trainer.kubeflow.org/v1alpha1" => Some(serves("trainer.kubeflow.org/v1alpha1", "trainjobs", "TrainJob")),
        "/apis/trainer.kubeflow.org/v1alpha1/namespaces/default/trainjobs/m" => Some(
            json!({"kind": "TrainJob", "apiVersion": "trainer.kubeflow.org/v1alpha1", "metadata": {"name": "m", "namespace": "default"}})
                .to_string(),
        ),
        "/api/v1/namespaces/default/pods" if path.contains("jobset-name%3Dm") => {
            Some(list(&[pod("m-node-0-1-x", "1", "Running"), pod("m-node-0-0-y", "0", "Running")]))
        }
        "/api/v1/namespaces/default/pods/m-node-0-0-y/log" => Some("2026-01-01T00:00:02.5Z second\n".into()),
        "/api/v1/namespaces/default/pods/m-node-0-1-x/log" => Some("2026-01-01T00:00:01.5Z first\n".into()),
        _ => None,
    });
    let kubeconfig = fake.kubeconfig("logs-of-a-train-job");
    let output = provision(&["logs", "--kubeconfig", kubeconfig.to_str().unwrap(), "--", "-"], TRAIN);
    fs::remove_file(&kubeconfig).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[1] first\n[0] second\n", "{output:?} {:?}", fake.asked);
}

#[test]
fn plan_expands_a_train_job_and_takes_the_word_of_a_running_server() {
    let planned = |more: &[&str]| {
        let words = ["plan", "-n", "default", "-o", "json", "--cluster", super::CLUSTER];
        let output = provision(&[&words[..], more, &["--", "-"]].concat(), TRAIN);
        let planned: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (planned, String::from_utf8(output.stderr).unwrap())
    };
    let (set, _) = planned(&["--as", "jobset"]);
    let (train, _) = planned(&["--as", "trainjob"]);
    let pending = |planned: &Value| planned["pending"].as_array().unwrap().len();
    assert_eq!((pending(&train), &train["starts"][0]["when"]), (pending(&set), &set["starts"][0]["when"]), "{train}");
    assert!(pending(&train) >= 1 && train["starts"][0]["gang"] == "default/m", "{train}");
    let (alone, said) = planned(&[]);
    assert_eq!(alone["starts"][0]["by"], "estimate");
    assert!(said.contains("START is an estimate"), "{said}");
    let fake = Fake::answering(|path| {
        (path == "/api/v1/starts/default/m").then(|| {
            json!({"starts": [{"gang": "default/m", "when": "expected", "fromSeconds": 60, "untilSeconds": 120, "basis": "earlier runs"}]}).to_string()
        })
    });
    let (asked, said) = planned(&["--server", &fake.address]);
    let start = &asked["starts"][0];
    assert_eq!((&start["by"], &start["untilSeconds"], &start["basis"]), (&json!("server"), &json!(120), &json!("earlier runs")));
    assert!(!said.contains("START is an estimate"), "{said}");
}
