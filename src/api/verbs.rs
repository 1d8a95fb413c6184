//! The scheduler's four verbs as HTTP: what the protocol reports as `Error` is 200 with the field filled, what is not
//! the protocol is a 4xx that says what would be, and "ask me later" is 503, which kube-scheduler takes as an error of
//! this one pod's attempt.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{Api, body, reply};
use crate::host::{BindFailure, Host, VerbFailure};
use crate::wire::{WireError, extender};

/// The verbs, as configured in `KubeSchedulerConfiguration`.
pub(super) const VERBS: [&str; 4] = ["filter", "prioritize", "preempt", "bind"];

pub(super) async fn filter(State(api): State<Api>, request: Request<Body>) -> Response {
    let verb = Verb { name: "filter", answer: Host::filter, error: Some(extender::render_filter_error) };
    measured(&api, verb.name, verb.run(&api, request)).await
}

pub(super) async fn prioritize(State(api): State<Api>, request: Request<Body>) -> Response {
    let verb = Verb { name: "prioritize", answer: Host::prioritize, error: None };
    measured(&api, verb.name, verb.run(&api, request)).await
}

pub(super) async fn preempt(State(api): State<Api>, request: Request<Body>) -> Response {
    let verb = Verb { name: "preempt", answer: Host::preempt, error: None };
    measured(&api, verb.name, verb.run(&api, request)).await
}

pub(super) async fn bind(State(api): State<Api>, request: Request<Body>) -> Response {
    measured(&api, "bind", bind_answer(&api, request)).await
}

pub(super) async fn unknown(Path(verb): Path<String>) -> Response {
    let shown: String = verb.chars().take(40).collect();
    reply::problem(StatusCode::NOT_FOUND, format!("`{shown}` is no verb; the verbs are {}", VERBS.join(", ")))
}

/// A question that the host answers at once.
struct Verb {
    name: &'static str,
    answer: fn(&Host, &Bytes) -> Result<Vec<u8>, VerbFailure>,
    /// How the protocol says what went wrong, where it can.
    error: Option<fn(&str) -> Vec<u8>>,
}

/// A reply, and how it is counted.
struct Counted(Response, &'static str);

impl Verb {
    async fn run(&self, api: &Api, request: Request<Body>) -> Counted {
        let body = match read(request).await {
            Ok(body) => body,
            Err(response) => return counted(*response),
        };
        match (self.answer)(&api.host, &body) {
            Ok(answer) => Counted(reply::json(StatusCode::OK, answer), "200"),
            Err(VerbFailure::NotReady(waiting)) => {
                Counted(reply::problem(StatusCode::SERVICE_UNAVAILABLE, format!("gangplank is not ready: it {waiting}")), "503")
            }
            Err(VerbFailure::Wire(error)) => malformed(&body, &error, self.error),
            Err(error @ VerbFailure::Barred) => match self.error {
                Some(render) => Counted(reply::json(StatusCode::OK, render(&error.to_string())), "error"),
                None => Counted(reply::problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()), "500"),
            },
        }
    }
}

async fn bind_answer(api: &Api, request: Request<Body>) -> Counted {
    let body = match read(request).await {
        Ok(body) => body,
        Err(response) => return counted(*response),
    };
    let parsed = match extender::parse_bind(&body) {
        Ok(parsed) => parsed,
        Err(error) => return malformed(&body, &error, Some(|text| extender::render_bind(Some(text)))),
    };
    match api.binder.bind(parsed).await {
        Ok(()) => Counted(reply::json(StatusCode::OK, extender::render_bind(None)), "200"),
        Err(error @ BindFailure::NotReady(_)) => Counted(reply::problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()), "503"),
        Err(error) => Counted(reply::json(StatusCode::OK, extender::render_bind(Some(&error.to_string()))), "error"),
    }
}

async fn read(request: Request<Body>) -> Result<Bytes, Box<Response>> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(Box::new(reply::only_post(&head.method)));
    }
    body::read_json(&head.headers, body).await
}

/// Not JSON at all is not the protocol: 400. JSON of another shape is, as far as the verb can say so.
fn malformed(body: &Bytes, error: &WireError, render: Option<fn(&str) -> Vec<u8>>) -> Counted {
    if let WireError::TooLarge { .. } = error {
        return Counted(reply::problem(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()), "413");
    }
    match render {
        Some(render) if is_json(body) => Counted(reply::json(StatusCode::OK, render(&error.to_string())), "error"),
        _ => Counted(reply::problem(StatusCode::BAD_REQUEST, error.to_string()), "400"),
    }
}

fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn counted(response: Response) -> Counted {
    let code = match response.status() {
        StatusCode::BAD_REQUEST => "400",
        StatusCode::METHOD_NOT_ALLOWED => "405",
        StatusCode::REQUEST_TIMEOUT => "408",
        StatusCode::PAYLOAD_TOO_LARGE => "413",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "415",
        _ => "other",
    };
    Counted(response, code)
}

async fn measured(api: &Api, verb: &'static str, answer: impl Future<Output = Counted>) -> Response {
    let started = Instant::now();
    let Counted(response, code) = answer.await;
    let metrics = api.host.metrics();
    metrics.duration.with_label_values(&[verb]).observe(started.elapsed().as_secs_f64());
    metrics.requests.with_label_values(&[verb, code]).inc();
    response
}
