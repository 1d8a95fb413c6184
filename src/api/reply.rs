//! Replies: always a whole body with its Content-Length, because kube-scheduler's client gives up a connection whose
//! reply came in chunks. One JSON shape for what is not the protocol.

use axum::body::Body;
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::Response;

use crate::wire::api::Problem;

/// A JSON reply.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    with_type(status, "application/json", body)
}

/// Text for people and probes.
pub(super) fn text(status: StatusCode, body: String) -> Response {
    with_type(status, "text/plain; charset=utf-8", body.into_bytes())
}

/// The metrics page.
pub(super) fn exposition(body: Vec<u8>) -> Response {
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
}

/// What is wrong with a request that is not the protocol, and what would be right.
pub(super) fn problem(status: StatusCode, error: impl Into<String>) -> Response {
    let problem = Problem { status: status.as_u16(), error: error.into() };
    json(status, serde_json::to_vec(&problem).unwrap_or_default())
}

/// As [`problem`], with the connection closed after it: the rest of the request is not worth reading.
pub(super) fn problem_and_close(status: StatusCode, error: impl Into<String>) -> Response {
    with_header(problem(status, error), header::CONNECTION, "close")
}

/// 405 with what is allowed.
pub(super) fn only_post(method: &Method) -> Response {
    let response = problem(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path: kube-scheduler's verbs are POST"));
    with_header(response, header::ALLOW, "POST")
}

pub(super) async fn no_such_route(uri: Uri) -> Response {
    problem(StatusCode::NOT_FOUND, format!("no such path: {}; see /healthz, /readyz, /metrics, /api/v1/, /scheduler/", uri.path()))
}

/// As [`no_such_route`], where there is less.
pub(super) async fn not_observed(uri: Uri) -> Response {
    problem(StatusCode::NOT_FOUND, format!("no such path here: {}; see /healthz, /readyz, /metrics", uri.path()))
}

fn with_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    with_header(response, header::CONTENT_TYPE, content_type)
}

fn with_header(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    response
}
