//! Stands between the controller and the API server, knows its writes by the name in their User-Agent, and is told what becomes of each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HOST, USER_AGENT};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    Yes,
    /// It is not written, and nobody answers: whoever wrote is gone.
    No,
    /// It is written, and nobody answers.
    Unheard,
    /// It is not written, and this is answered.
    Answered(u16),
}

type Judge = Arc<dyn Fn(&str) -> Passes + Send + Sync>;

/// A listening proxy; it ends when this is dropped.
pub(super) struct Passage {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Passage {
    /// Passes everything on with these rights; `judge` is asked of each write by its name.
    pub(super) async fn start(client: kube::Client, judge: Judge) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(pass).with_state((client, judge));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, server })
    }

    /// A kubeconfig that leads through it.
    pub(super) fn kubeconfig(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("passage-{}.kubeconfig", self.address.port()));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{{name: it, cluster: {{server: 'http://{}'}}}}]\n\
             users: [{{name: it, user: {{}}}}]\ncontexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n",
            self.address
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State((client, judge)): State<(kube::Client, Judge)>, request: Request) -> Response {
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let name = agent.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default().to_owned();
    let is_write = request.method() != "GET" && !name.is_empty();
    let fate = if is_write { judge(&name) } else { Passes::Yes };
    match fate {
        Passes::No => std::future::pending().await,
        Passes::Answered(code) => {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body =
                format!(r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"by the test","code":{}}}"#, code.as_u16());
            return (code, body).into_response();
        }
        Passes::Yes | Passes::Unheard => {}
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    parts.headers.remove(AUTHORIZATION);
    let Ok(body) = to_bytes(body, 4 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answered = client.send(request).await;
    if fate == Passes::Unheard {
        std::future::pending::<()>().await;
    }
    match answered {
        Ok(response) => response.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
