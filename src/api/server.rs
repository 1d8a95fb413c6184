//! Our own accept loop: TCP_NODELAY (46 ms a call without it, measured), a bound on connections under which the idle
//! and the silent give way to those who ask, and an orderly end. HTTP/1.1 only.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use super::connection::{State, Timed};
use crate::telemetry::Metrics;

/// Bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Open connections; kube-scheduler keeps two idle ones, and opens one a binding in a burst.
    pub connections_max: usize,
    /// How long requests under way may take once the end has been announced.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self { connections_max: 512, drain: Duration::from_secs(5) }
    }
}

/// One listening address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    metrics: Arc<Metrics>,
    open: Arc<Open>,
}

/// Open connections, by the order in which they were accepted.
#[derive(Debug, Default)]
struct Open(Mutex<BTreeMap<u64, Arc<State>>>);

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub async fn bind(address: SocketAddr, router: Router, limits: ServeLimits, metrics: Arc<Metrics>) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, router, limits, metrics, open: Arc::default() })
    }

    /// Where it listens: the port, if any was asked for.
    ///
    /// # Errors
    /// None that was seen on a bound socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` turns true, then lets requests under way finish.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let mut id = 0_u64;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok((socket, _)) => {
                    self.make_room();
                    id += 1;
                    let state = State::new();
                    self.open.lock().insert(id, state.clone());
                    self.metrics.connections.inc();
                    let left = Left { id, open: self.open.clone(), metrics: self.metrics.clone() };
                    connections.spawn(connection(socket, state, self.router.clone(), stop.clone(), left));
                }
                Err(error) => {
                    // Out of descriptors as a rule: trying at once would only spin.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.drain, drained).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests under way were cut off");
        }
    }

    /// Closes the most expendable connection when there are as many as may be. One that is being answered never goes.
    fn make_room(&self) {
        let open = self.open.lock();
        if open.len() < self.limits.connections_max {
            return;
        }
        let first_to_go = open.values().filter_map(|state| state.expendable().map(|rank| (rank, state))).max_by_key(|(rank, _)| *rank);
        if let Some((_, state)) = first_to_go {
            state.evict.notify_one();
            self.metrics.connections_closed.with_label_values(&["room"]).inc();
        }
    }
}

impl Open {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<State>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves once `stop` is true, or nobody is left to say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(socket: TcpStream, state: Arc<State>, router: Router, mut stop: watch::Receiver<bool>, left: Left) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let (state, router) = (state.clone(), router.clone());
        async move {
            state.request_begins();
            let _ends = Ends(state);
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(Timed::new(socket, state.clone()));
    let serving =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1024).serve_connection(io, service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = state.evict.notified() => return,
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        left.metrics.connections_closed.with_label_values(&["error"]).inc();
        tracing::debug!(%error, "a connection broke");
    }
}

struct Ends(Arc<State>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// Takes a connection off the list, however it ends.
struct Left {
    id: u64,
    open: Arc<Open>,
    metrics: Arc<Metrics>,
}

impl Drop for Left {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
        self.metrics.connections.dec();
    }
}
