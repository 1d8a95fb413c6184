//! The extender protocol of kube-scheduler 1.36, both directions: the server's side here, the scheduler's side in
//! [`client`] for the demo, benchmarks and tests.
//!
//! ```text
//! body --parse_*--> request --(engine)--> answer --render_*--> body
//! ```
//!
//! Names are borrowed from the body, the big answers are written by hand into one buffer: 5,000 names a call, a call
//! a pod. kube-scheduler matches keys without regard to case and always writes PascalCase; only that is read.
//! Nothing is decided from a pod in here that the API server's object could tell better: bind carries names alone.

mod bind;
pub mod client;
mod filter;
mod json;
mod names;
mod preempt;
#[cfg(test)]
mod tests;

pub use bind::{BindRequest, parse_bind, render_bind};
pub use filter::{FilterRequest, parse_filter, parse_prioritize, render_filter, render_filter_error, render_prioritize};
pub use names::Names;
pub use preempt::{PreemptRequest, parse_preempt, render_preempt};

use super::WireError;

/// The largest body that is read: a Pod is at most 1.5 MiB, 5,000 long names are 0.3 MiB.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A body as text. Checked once, as a whole: that is many times faster than string by string.
fn text<'a>(message: &'static str, body: &'a [u8]) -> Result<&'a str, WireError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(WireError::TooLarge { message, bytes: body.len(), bytes_max: BODY_BYTES_MAX });
    }
    std::str::from_utf8(body)
        .map_err(|error| WireError::Unreadable { message, problem: format!("not UTF-8 at byte {}", error.valid_up_to()) })
}
