//! What kubelet and Prometheus read of a program that answers nobody else: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::{reply, views};
use crate::telemetry::Metrics;

/// What a program is able to do: what it waits for, or in a word what it does.
pub type Health = Arc<dyn Fn() -> Result<&'static str, String> + Send + Sync>;

/// The routes, from these metrics and this health.
pub fn companion(metrics: Arc<Metrics>, health: Health) -> Router {
    let ready = move || {
        let told = match health() {
            Ok(does) => reply::text(StatusCode::OK, format!("ok: {does}\n")),
            Err(waits) => reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: waits for {waits}\n")),
        };
        std::future::ready(told)
    };
    let exposed = move || std::future::ready(reply::exposition(metrics.render()));
    Router::new()
        .route("/healthz", get(views::healthz))
        .route("/readyz", get(ready))
        .route("/metrics", get(exposed))
        .fallback(reply::not_observed)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn it_is_alive_before_it_is_ready_and_shows_nothing_else() {
        let health: Health = Arc::new(|| Err("the list of jobs".into()));
        let router = companion(Arc::new(Metrics::new()), health);
        for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/metrics", 200), ("/api/v1/nodes", 404)] {
            let reply = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(reply.status().as_u16(), status, "{path}");
        }
    }
}
