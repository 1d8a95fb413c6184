//! A restart in a large cluster: from the start of the process until it answers, against a server that streams lists made
//! beforehand, so that it is our time that is seen and not the API server's.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::{HttpClient, free_address, program, wait_until};

const READY_WITHIN: Duration = Duration::from_mins(2);
/// Streamed in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;

/// Lists as a watch streams them, by plural.
struct Lists {
    pods: Vec<Bytes>,
    nodes: Vec<Bytes>,
}

fn added(object: &Value) -> String {
    format!("{}\n", json!({"type": "ADDED", "object": object}))
}

/// What ends a streamed list.
fn end_of(kind: &str, api_version: &str) -> String {
    let mark = json!({"k8s.io/initial-events-end": "true"});
    let object = json!({"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": "900000", "annotations": mark}});
    format!("{}\n", json!({"type": "BOOKMARK", "object": object}))
}

fn pieces(lines: impl Iterator<Item = String>) -> Vec<Bytes> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    for line in lines {
        piece.push_str(&line);
        if piece.len() >= PIECE_BYTES {
            pieces.push(Bytes::from(std::mem::take(&mut piece)));
        }
    }
    pieces.push(Bytes::from(piece));
    pieces
}

impl Lists {
    /// Nodes of eight GPUs; of the pods as many as there are GPUs have one, the others ask for CPU alone.
    fn of(nodes: usize, pods: usize) -> Self {
        let name = |index: usize| format!("gpu-node-{index:05}");
        let all_nodes = (0..nodes).map(|index| added(&node(&name(index))));
        let all_pods = (0..pods).map(|index| {
            let device = (index < nodes * 8).then_some(index / nodes);
            added(&pod(index, &name(index % nodes), device))
        });
        Self { nodes: pieces(all_nodes.chain([end_of("Node", "v1")])), pods: pieces(all_pods.chain([end_of("Pod", "v1")])) }
    }
}

fn node(name: &str) -> Value {
    let amounts = json!({"cpu": "192", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"});
    let mut labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.count": "8"});
    for index in 0..30 {
        labels[format!("feature.node.kubernetes.io/cpu-{index}")] = "true".into();
    }
    let images: Vec<Value> =
        (0..20).map(|index| json!({"names": [format!("registry.example.com/images/image-{index}@sha256:0123456789abcdef")], "sizeBytes": 1_000_000})).collect();
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "uid": name, "resourceVersion": "10", "labels": labels},
        "spec": {}, "status": {"capacity": amounts, "allocatable": amounts, "images": images,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}]}})
}

/// About 2 kB.
fn pod(index: usize, node: &str, device: Option<usize>) -> Value {
    let env: Vec<Value> =
        (0..20).map(|at| json!({"name": format!("VARIABLE_{at}"), "value": "a value of ordinary length, not short"})).collect();
    let mut limits = json!({"cpu": "1", "memory": "4Gi"});
    let mut marks = json!({});
    if let Some(device) = device {
        limits["nvidia.com/gpu"] = "1".into();
        let grant = json!({"main": [{"id": device.to_string(), "resource": "nvidia.com/gpu"}]});
        marks["gangplank.dev/devices"] = grant.to_string().into();
    }
    let (name, uid) = (format!("pod-{index:06}"), format!("00000000-0000-0000-0000-{index:012}"));
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": format!("team-{}", index % 50), "uid": uid, "resourceVersion": "10",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "train"}, "annotations": marks},
        "spec": {"schedulerName": "gangplank", "nodeName": node, "containers": [
            {"name": "main", "image": "registry.example.com/team/trainer:1", "env": env, "resources": {"limits": limits, "requests": limits}}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

/// A watch: its whole list, and then silence.
async fn core(State(lists): State<Arc<Lists>>, Path(plural): Path<String>, RawQuery(query): RawQuery) -> Response {
    let pieces = match plural.as_str() {
        // All of them run.
        "pods" if query.as_deref().unwrap_or_default().contains("phase%3DFailed") => vec![Bytes::from(end_of("Pod", "v1"))],
        "pods" => lists.pods.clone(),
        "nodes" => lists.nodes.clone(),
        "persistentvolumes" => vec![Bytes::from(end_of("PersistentVolume", "v1"))],
        "resourcequotas" => vec![Bytes::from(end_of("ResourceQuota", "v1"))],
        _ => return not_found(),
    };
    streamed(pieces, query.as_deref())
}

fn streamed(pieces: Vec<Bytes>, query: Option<&str>) -> Response {
    if !query.unwrap_or_default().contains("sendInitialEvents=true") {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "streams only"});
        return (axum::http::StatusCode::GONE, axum::Json(status)).into_response();
    }
    let list = futures::stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>));
    Body::from_stream(list.chain(futures::stream::pending())).into_response()
}

fn not_found() -> Response {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no such kind"});
    (axum::http::StatusCode::NOT_FOUND, axum::Json(status)).into_response()
}

async fn serve(lists: Lists) -> Result<std::net::SocketAddr> {
    let budgets = |query: Option<&str>| streamed(vec![Bytes::from(end_of("PodDisruptionBudget", "policy/v1"))], query);
    let classes = |query: Option<&str>| streamed(vec![Bytes::from(end_of("PriorityClass", "scheduling.k8s.io/v1"))], query);
    let router = Router::new()
        .route("/version", get(async || axum::Json(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}))))
        .route("/apis", get(async || axum::Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}))))
        .route("/api/v1/{plural}", get(core))
        .route("/apis/policy/v1/poddisruptionbudgets", get(move |RawQuery(query): RawQuery| async move { budgets(query.as_deref()) }))
        .route("/apis/scheduling.k8s.io/v1/priorityclasses", get(move |RawQuery(query): RawQuery| async move { classes(query.as_deref()) }))
        .fallback(async || not_found())
        .with_state(Arc::new(lists));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The most memory that it ever had, in MiB.
fn peak_mib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse::<u64>()? / 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_it_knows_every_pod_and_node_before_it_answers() -> Result<()> {
    let long = std::env::var_os("GANGPLANK_LONG").is_some();
    let (nodes, pods) = if long { (5_000, 100_000) } else { (100, 2_000) };
    let server = serve(Lists::of(nodes, pods)).await?;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kubeconfig = folder.join(format!("restart-{}.yaml", std::process::id()));
    let mut text = String::from("apiVersion: v1\nkind: Config\ncurrent-context: c\n");
    writeln!(text, "clusters: [{{name: c, cluster: {{server: \"http://{server}\"}}}}]")?;
    text.push_str("users: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n");
    std::fs::write(&kubeconfig, text)?;
    let address = free_address()?;

    let began = Instant::now();
    let mut command = Command::new(program());
    command.arg("serve").arg(format!("--listen={address}")).arg("--kubeconfig").arg(&kubeconfig).stdin(Stdio::null()).stdout(Stdio::null());
    let process = Process(command.spawn()?);
    wait_until("it to be ready", READY_WITHIN, async || {
        let Ok(mut client) = HttpClient::open(address).await else { return Ok(None) };
        Ok((client.get("/readyz").await?.status == 200).then_some(()))
    })
    .await?;
    let ready = began.elapsed();
    let peak_mib = peak_mib(process.0.id())?;
    eprintln!("{nodes} nodes and {pods} pods: ready after {:.2} s, at most {peak_mib} MiB", ready.as_secs_f64());

    let bound = format!("gangplank_book_holders{{state=\"bound\"}} {}", (nodes * 8).min(pods));
    wait_until("the gauges to tell of every pod with a device", READY_WITHIN, async || {
        let metrics = HttpClient::open(address).await?.get("/metrics").await?.text();
        Ok(metrics.lines().any(|line| line == bound).then_some(()))
    })
    .await?;
    let _ = std::fs::remove_file(&kubeconfig);
    Ok(())
}
