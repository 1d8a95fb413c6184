//! Request bodies: read whole, within a size and a time. A body that is too large is still read for a while, so that
//! its sender gets to see the 413 instead of a broken pipe.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::reply;
use crate::wire::extender::BODY_BYTES_MAX;

/// How much of a body beyond that is thrown away before the connection is.
const EXCESS_BYTES_MAX: usize = 16 << 20;
/// The longest that a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// Reads a JSON body.
///
/// # Errors
/// The reply to send instead: 415, 411, 413, 408 or 400.
pub(super) async fn read_json(headers: &HeaderMap, body: Body) -> Result<Bytes, Box<Response>> {
    if !is_json(headers) {
        let error = "the Content-Type of a verb is application/json";
        return Err(Box::new(reply::problem_and_close(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)));
    }
    match timeout(BODY_TIME_MAX, read_within(body, declared_length(headers))).await {
        Ok(Ok(bytes)) if bytes.is_empty() => {
            Err(Box::new(reply::problem(StatusCode::BAD_REQUEST, "the body is empty: a verb's arguments are a JSON object")))
        }
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(ReadFailure::TooLarge)) => {
            let error = format!("the body is larger than {BODY_BYTES_MAX} bytes; with nodeCacheCapable: true a call stays far below it");
            Err(Box::new(reply::problem_and_close(StatusCode::PAYLOAD_TOO_LARGE, error)))
        }
        Ok(Err(ReadFailure::Broken)) => {
            Err(Box::new(reply::problem_and_close(StatusCode::BAD_REQUEST, "the body ended before its Content-Length")))
        }
        Err(_) => Err(Box::new(reply::problem_and_close(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))),
    }
}

enum ReadFailure {
    TooLarge,
    Broken,
}

async fn read_within(mut body: Body, declared: Option<usize>) -> Result<Bytes, ReadFailure> {
    let too_large = declared.is_some_and(|declared| declared > BODY_BYTES_MAX);
    if declared.is_some_and(|declared| declared > BODY_BYTES_MAX + EXCESS_BYTES_MAX) {
        return Err(ReadFailure::TooLarge);
    }
    let mut whole = BytesMut::with_capacity(if too_large { 0 } else { declared.unwrap_or(0) });
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ReadFailure::Broken)?.into_data() else { continue };
        seen += data.len();
        if seen > BODY_BYTES_MAX + EXCESS_BYTES_MAX {
            return Err(ReadFailure::TooLarge);
        }
        if too_large || seen > BODY_BYTES_MAX {
            whole = BytesMut::new();
        } else {
            whole.extend_from_slice(&data);
        }
    }
    if seen > BODY_BYTES_MAX { Err(ReadFailure::TooLarge) } else { Ok(whole.freeze()) }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
