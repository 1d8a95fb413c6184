//! HTTP/1.1 over TLS, for the webhook: a bounded number of connections, each with little time to say what it wants.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Open connections. An API server keeps a handful; whoever else comes waits.
const CONNECTIONS_MAX: usize = 128;
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long the head of a request may take, counted from the end of the one before: an idle connection ends with it. API servers try
/// again on a new one.
const HEAD_MAX: Duration = Duration::from_secs(100);
/// How long requests under way may take once the end has been announced.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// One listening address.
#[derive(Debug)]
pub struct TlsServer {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
}

impl TlsServer {
    /// Listens.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub async fn bind(address: SocketAddr, config: ServerConfig, router: Router) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, config: Arc::new(config), router })
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
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&room) => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok((socket, place)) => {
                    let acceptor = TlsAcceptor::from(self.config.clone());
                    connections.spawn(connection(socket, acceptor, self.router.clone(), stop.clone(), place));
                }
                Err(error) => {
                    // Out of descriptors as a rule: trying at once would only spin.
                    tracing::warn!(%error, "a connection to the webhook was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(DRAIN_MAX, drained).await.is_err() {
            tracing::warn!(connections = connections.len(), "webhook requests under way were cut off");
        }
    }

    async fn accept(&self, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (socket, _) = self.listener.accept().await?;
        Ok((socket, place))
    }
}

/// A sender that is gone has nothing more to say, and means the end as well.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    mut stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let _ = socket.set_nodelay(true);
    let secured = match timeout(HANDSHAKE_MAX, acceptor.accept(socket)).await {
        Ok(Ok(secured)) => secured,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake with the webhook failed"),
        Err(_) => return tracing::debug!("a handshake with the webhook took too long"),
    };
    let service = service_fn(|request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(secured), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the webhook broke");
    }
}
