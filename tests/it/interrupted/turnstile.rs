//! Stands between kube-scheduler and Gangplank, and lets binds of a gang pass one at a time, and only so many.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::gang_of;
use crate::support::HttpClient;

/// Below kube-scheduler's patience with an extender, which is 2 s.
const HELD_MAX: Duration = Duration::from_millis(1500);

/// A listening proxy; it ends when this is dropped.
pub(super) struct Turnstile {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    upstream: SocketAddr,
    gangs: Mutex<BTreeMap<String, Passes>>,
    /// What becomes of the binds that are held.
    verdict: watch::Sender<Verdict>,
}

/// Binds of one gang.
struct Passes {
    max: usize,
    passed: usize,
    /// One more came.
    held: bool,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Pass,
    TurnAway,
}

impl Turnstile {
    pub(super) async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let shared = Arc::new(Shared { upstream, gangs: Mutex::default(), verdict: watch::Sender::new(Verdict::Pass) });
        let router = Router::new().route("/scheduler/{verb}", post(pass)).with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, server })
    }

    /// Where kube-scheduler calls.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on so many binds of each of these gangs pass.
    pub(super) fn close(&self, gangs: impl IntoIterator<Item = (String, usize)>) {
        let passes = |max| Passes { max, passed: 0, held: false, turn: Arc::default() };
        *self.shared.gangs() = gangs.into_iter().map(|(gang, max)| (gang, passes(max))).collect();
        self.shared.verdict.send_replace(Verdict::Wait);
    }

    /// Whether each gang has as many members bound as may be: the next one stands before the turnstile, or there is none.
    pub(super) fn is_full(&self, members: usize) -> bool {
        self.shared.gangs().values().all(|gang| gang.passed == gang.max && (gang.held || gang.max == members))
    }

    /// Lets everything pass, what is held as well.
    pub(super) fn open(&self) {
        self.shared.verdict.send_replace(Verdict::Pass);
        self.shared.gangs().clear();
    }

    /// Lets everything pass that comes later; what is held gets no answer from Gangplank.
    pub(super) fn turn_away(&self) {
        self.shared.verdict.send_replace(Verdict::TurnAway);
        self.shared.gangs().clear();
    }

    /// How many binds of each gang passed.
    pub(super) fn passed(&self) -> BTreeMap<String, usize> {
        self.shared.gangs().iter().map(|(gang, passes)| (gang.clone(), passes.passed)).collect()
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn gangs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Passes>> {
        self.gangs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn forward(&self, verb: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let reply = HttpClient::open(self.upstream).await?.post(&format!("/scheduler/{verb}"), body).await?;
        Ok((reply.status, reply.body))
    }

    async fn bind(&self, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let asked: Value = serde_json::from_slice(body)?;
        let gang = gang_of(asked["PodName"].as_str().unwrap_or_default()).to_owned();
        let Some(turn) = self.gangs().get(&gang).map(|passes| passes.turn.clone()) else { return self.forward("bind", body).await };
        let _turn = turn.lock().await;
        let full = match self.gangs().get_mut(&gang) {
            Some(passes) => {
                passes.held |= passes.passed == passes.max;
                passes.passed == passes.max
            }
            None => false,
        };
        if full {
            let mut verdict = self.verdict.subscribe();
            let said = timeout(HELD_MAX, verdict.wait_for(|verdict| *verdict != Verdict::Wait)).await;
            let may_pass = said.is_ok_and(|said| said.is_ok_and(|verdict| *verdict == Verdict::Pass));
            anyhow::ensure!(may_pass, "held at the turnstile");
            return self.forward("bind", body).await;
        }
        let reply = self.forward("bind", body).await?;
        let answer: Value = serde_json::from_slice(&reply.1).unwrap_or_default();
        if let Some(passes) = self.gangs().get_mut(&gang)
            && answer["Error"] == ""
        {
            passes.passed += 1;
        }
        Ok(reply)
    }
}

async fn pass(State(shared): State<Arc<Shared>>, Path(verb): Path<String>, body: Bytes) -> Response {
    // A task of its own: what was counted once goes on when kube-scheduler hangs up.
    let passing = tokio::spawn(async move { if verb == "bind" { shared.bind(&body).await } else { shared.forward(&verb, &body).await } });
    match passing.await {
        Ok(Ok((status, body))) => {
            (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), [(CONTENT_TYPE, "application/json")], body).into_response()
        }
        _ => StatusCode::BAD_GATEWAY.into_response(),
    }
}
