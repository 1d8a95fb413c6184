//! The admission routes of `gangplank serve`, for clusters before 1.36. What is answered is decided in [`crate::wire::admission`]; here are
//! the limits, and the one question that only the cluster can answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cluster::webhook_config::WebhookObjects;
use crate::wire::admission::{self, AccessQuestion, ReviewError, Rules, Verdict};

/// A review of an update holds an object twice, each up to 3 MiB, and managed fields beside.
const BODY_BYTES_MAX: usize = 8 << 20;
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// Reviews worked on at a time: what bounds memory. More are told to come again.
const REVIEWS_MAX: usize = 64;
/// Below the time-outs of the webhook configurations.
const ACCESS_TIME_MAX: Duration = Duration::from_secs(3);

/// Who may opt namespaces in.
pub trait Access: fmt::Debug + Send + Sync {
    /// Whether the user of the question may.
    fn may_manage<'a>(&'a self, question: &'a AccessQuestion) -> BoxFuture<'a, Result<bool, String>>;
}

impl Access for WebhookObjects {
    fn may_manage<'a>(&'a self, question: &'a AccessQuestion) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move { Self::may_manage(self, question).await.map_err(|error| error.to_string()) })
    }
}

/// What the routes answer from.
#[derive(Clone, Debug)]
pub struct Admission {
    rules: Arc<Rules>,
    access: Arc<dyn Access>,
    room: Arc<Semaphore>,
}

type Decide = fn(&Value, &Rules) -> Result<Verdict, ReviewError>;

impl Admission {
    /// Admission by these rules.
    pub fn new(rules: Rules, access: Arc<dyn Access>) -> Self {
        Self { rules: Arc::new(rules), access, room: Arc::new(Semaphore::new(REVIEWS_MAX)) }
    }

    /// `POST /admission/mutate` and `/admission/validate`.
    pub fn router(self) -> Router {
        Router::new()
            .route(
                "/admission/mutate",
                post(|State(admission): State<Self>, body| async move { admission.reply(body, admission::mutate).await }),
            )
            .route(
                "/admission/validate",
                post(|State(admission): State<Self>, body| async move { admission.reply(body, admission::validate).await }),
            )
            .with_state(self)
    }

    async fn reply(&self, body: Body, decide: Decide) -> Response {
        let Ok(_place) = self.room.try_acquire() else {
            return problem(StatusCode::SERVICE_UNAVAILABLE, format!("{REVIEWS_MAX} reviews are being worked on; ask again"));
        };
        let bytes = match read(body).await {
            Ok(bytes) => bytes,
            Err(problem) => return *problem,
        };
        let review: Value = match serde_json::from_slice(&bytes) {
            Ok(review) => review,
            Err(error) => return problem(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")),
        };
        let mut verdict = decide(&review, &self.rules);
        if let Ok(Verdict::Ask(question)) = &verdict {
            verdict = Ok(self.ask(question).await);
        }
        if let Ok(Verdict::Refuse(text)) = &verdict {
            let namespace = review.pointer("/request/namespace").and_then(Value::as_str).unwrap_or_default();
            tracing::info!(namespace, text, "refused at admission");
        }
        ([(header::CONTENT_TYPE, "application/json")], admission::answer(&review, &verdict).to_string()).into_response()
    }

    /// A cluster that does not answer grants nothing.
    async fn ask(&self, question: &AccessQuestion) -> Verdict {
        match timeout(ACCESS_TIME_MAX, self.access.may_manage(question)).await {
            Ok(Ok(true)) => Verdict::Allow(Vec::new()),
            Ok(Ok(false)) => Verdict::Refuse(question.refusal.clone()),
            Ok(Err(error)) => Verdict::Refuse(format!("{} (whether you are granted it could not be found out: {error})", question.refusal)),
            Err(_) => Verdict::Refuse(format!("{} (whether you are granted it could not be found out in time)", question.refusal)),
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Box<Response>> {
    let refuse = |status, text: &str| Err(Box::new(problem(status, text.to_owned())));
    match timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("a review of more than {BODY_BYTES_MAX} bytes is not read"))
        }
        Ok(Err(_)) => refuse(StatusCode::BAD_REQUEST, "the body ended before its Content-Length"),
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
    }
}

/// The API server shows this text to its user, after its own words about the webhook.
fn problem(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;

    #[derive(Debug)]
    struct Says(Result<bool, String>);

    impl Access for Says {
        fn may_manage<'a>(&'a self, _: &'a AccessQuestion) -> BoxFuture<'a, Result<bool, String>> {
            Box::pin(std::future::ready(self.0.clone()))
        }
    }

    async fn post(access: Result<bool, String>, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
        let router = Admission::new(Rules::shipped(Arc::default()), Arc::new(Says(access))).router();
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn label_review() -> String {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "7", "kind": {"kind": "Namespace"}, "operation": "CREATE", "name": "new", "userInfo": {"username": "tess", "groups": ["tenants"]},
            "object": {"metadata": {"name": "new", "labels": {"gangplank.dev/managed": "true"}}}}})
        .to_string()
    }

    #[tokio::test]
    async fn only_a_cluster_that_says_yes_lets_a_namespace_in() {
        for (access, allowed) in [(Ok(true), true), (Ok(false), false), (Err("no route".to_owned()), false)] {
            let (status, body) = post(access.clone(), "/admission/validate", label_review()).await;
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(status, StatusCode::OK);
            assert_eq!((&answer["response"]["uid"], &answer["response"]["allowed"]), (&json!("7"), &json!(allowed)), "{access:?}");
        }
    }

    #[tokio::test]
    async fn bodies_that_are_too_large_deep_or_broken_get_an_answer_and_no_consent() {
        let deep = "[".repeat(1_000_000);
        for (body, expected) in [
            (Vec::new(), StatusCode::BAD_REQUEST),
            (b"{\"apiVersion\"".to_vec(), StatusCode::BAD_REQUEST),
            (deep.into_bytes(), StatusCode::BAD_REQUEST),
            (vec![b' '; 9 << 20], StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            for path in ["/admission/mutate", "/admission/validate"] {
                let (status, text) = post(Ok(true), path, body.clone()).await;
                assert_eq!(status, expected, "{text}");
            }
        }
        let (status, body) = post(Ok(true), "/admission/mutate", "{}").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(r#""allowed":false"#), "{body}");
    }
}
