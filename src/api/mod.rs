//! HTTP: the scheduler's verbs, health, metrics and the read-only API. It decides statuses, limits and how
//! connections live and die; what is answered is decided behind [`crate::host::Host`].
//!
//! | route | for | address |
//! |---|---|---|
//! | `POST /scheduler/{filter,prioritize,preempt,bind}` | kube-scheduler | loopback |
//! | `GET /api/v1/{nodes,book,defrag,digest,gangs,journal,queues}`, `/api/v1/pods/{namespace}/{name}` | people | loopback |
//! | `GET /healthz`, `/readyz` | kubelet | loopback, and the pod's |
//! | `GET /metrics` | Prometheus | loopback, and the pod's |
//! | `POST /admission/{mutate,validate}` | API servers before 1.36 | the pod's, over TLS |

pub mod admission;
mod body;
pub mod certs;
pub mod companion;
mod connection;
mod reply;
mod server;
pub mod tls;
mod verbs;
mod views;
pub mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

pub use server::{ServeLimits, Server};

use crate::host::{Binder, Host};

/// What the routes answer from.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where questions go.
    pub host: Arc<Host>,
    /// Where bindings go.
    pub binder: Arc<Binder>,
}

impl Api {
    /// Every route, for the address that kube-scheduler calls.
    pub fn router(self) -> Router {
        self.scheduler().merge(self.views()).merge(self.probes()).fallback(reply::no_such_route)
    }

    /// What the kubelet and Prometheus read, for an address that the pod network reaches: nobody is authenticated there, so nothing here
    /// names a pod.
    pub fn observer(self) -> Router {
        self.probes().fallback(reply::not_observed)
    }

    fn scheduler(&self) -> Router {
        Router::new()
            .route("/scheduler/filter", any(verbs::filter))
            .route("/scheduler/prioritize", any(verbs::prioritize))
            .route("/scheduler/preempt", any(verbs::preempt))
            .route("/scheduler/bind", any(verbs::bind))
            .route("/scheduler/{verb}", any(verbs::unknown))
            .with_state(self.clone())
    }

    fn views(&self) -> Router {
        Router::new()
            .route("/api/v1/nodes", get(views::nodes))
            .route("/api/v1/book", get(views::book))
            .route("/api/v1/digest", get(views::digest))
            .route("/api/v1/defrag", get(views::defrag))
            .route("/api/v1/gangs", get(views::gangs))
            .route("/api/v1/preemptions", get(views::preemptions))
            .route("/api/v1/gangs/{namespace}/{name}", get(views::gang))
            .route("/api/v1/journal", get(views::journal))
            .route("/api/v1/queues", get(views::queues))
            .route("/api/v1/starts/{namespace}/{name}", get(views::starts))
            .route("/api/v1/pods/{namespace}/{name}", get(views::pod))
            .with_state(self.clone())
    }

    fn probes(&self) -> Router {
        Router::new()
            .route("/healthz", get(views::healthz))
            .route("/readyz", get(views::readyz))
            .route("/metrics", get(views::metrics))
            .with_state(self.clone())
    }
}
