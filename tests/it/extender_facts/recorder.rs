//! An extender that writes down what it is asked and answers by script.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One question of kube-scheduler.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) verb: String,
    pub(super) pod: String,
    /// Offered nodes: of filter and prioritize from `NodeNames`, of preempt from `NodeNameToMetaVictims`.
    pub(super) nodes: Vec<String>,
    /// When it came, since the recorder began.
    pub(super) at: Duration,
    /// The whole body as it came.
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
    /// How many questions with this verb about this pod came before.
    pub(super) earlier: usize,
}

impl Call {
    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("the body of {} for {}", self.verb, self.pod))
    }

    fn read(verb: String, headers: HeaderMap, body: Bytes, at: Duration) -> Self {
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        let nodes = match (&value["NodeNames"], &value["NodeNameToMetaVictims"]) {
            (Value::Array(names), _) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            (_, Value::Object(victims)) => victims.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let pod = value["Pod"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Self { verb, pod, nodes, at, body, headers, earlier: 0 }
    }
}

/// What to answer; called with the question.
pub(super) type Script = dyn Fn(&Call) -> Value + Send + Sync;

/// A listening extender; it ends when this is dropped.
pub(super) struct Recorder {
    port: u16,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    began: Instant,
    calls: Mutex<Vec<Call>>,
    script: Box<Script>,
}

impl Recorder {
    pub(super) async fn start(script: impl Fn(&Call) -> Value + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        // Without it each answer waits some 40 ms for the acknowledgement of its headers.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let shared = Arc::new(Shared { began: Instant::now(), calls: Mutex::default(), script: Box::new(script) });
        let router = Router::new().route("/{verb}", post(answer)).with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, shared, server })
    }

    /// A scheduler's configuration with one profile and this as its extender, for every pod.
    pub(super) fn scheduler_config(&self, scheduler: &str) -> String {
        let port = self.port;
        format!(
            "{{percentageOfNodesToScore: 100, profiles: [{{schedulerName: {scheduler}}}], extenders: [{{
               urlPrefix: 'http://127.0.0.1:{port}', filterVerb: filter, prioritizeVerb: prioritize, weight: 1,
               preemptVerb: preempt, nodeCacheCapable: true, httpTimeout: 5s}}]}}"
        )
    }

    /// The questions so far, in order.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The questions with this verb about this pod.
    pub(super) fn calls_of(&self, verb: &str, pod: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.verb == verb && call.pod == pod).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Path(verb): Path<String>, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let mut call = Call::read(verb, headers, body, shared.began.elapsed());
    {
        let mut calls = shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        call.earlier = calls.iter().filter(|other| other.verb == call.verb && other.pod == call.pod).count();
        calls.push(call.clone());
    }
    Json((shared.script)(&call))
}

/// Takes whatever is offered, prefers nothing, and agrees to every preemption.
pub(super) fn accept(call: &Call) -> Value {
    match call.verb.as_str() {
        "filter" => json!({"NodeNames": call.nodes}),
        "prioritize" => call.nodes.iter().map(|node| json!({"Host": node, "Score": 0})).collect(),
        _ => json!({"NodeNameToMetaVictims": call.json().map(|body| body["NodeNameToMetaVictims"].clone()).unwrap_or_default()}),
    }
}

/// Refuses every offered node, in one of the two maps of an answer.
pub(super) fn refuse(call: &Call, map: &str, text: &str) -> Value {
    let nodes: serde_json::Map<_, _> = call.nodes.iter().map(|node| (node.clone(), json!(text))).collect();
    json!({"NodeNames": [], map: nodes})
}
