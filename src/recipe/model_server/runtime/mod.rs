//! What serves a model: one file a runtime, one line each in [`ALL`]. A file says how the server is started, where it
//! listens, and what it is asked for its health.

mod plain;
mod tensorflow_serving;
mod triton;
mod vllm;

use super::model::Model;
use crate::policy::Mistake;

/// Every runtime, in the order that help shows.
pub static ALL: &[Runtime] = &[tensorflow_serving::TENSORFLOW_SERVING, triton::TRITON, vllm::VLLM, plain::PLAIN];

/// A runtime.
#[derive(Debug)]
pub struct Runtime {
    /// As specs name it.
    pub name: &'static str,
    /// One line for help.
    pub about: &'static str,
    /// The image that it brings.
    pub(super) image: Option<&'static str>,
    /// Where it takes requests; a plain one says so itself.
    pub(super) http: Option<u16>,
    /// Other ports: name and number.
    pub(super) more_ports: &'static [(&'static str, u16)],
    /// Name of the port and path of its metrics.
    pub(super) metrics: (&'static str, &'static str),
    /// The histogram of its latencies in seconds, without `_bucket`.
    pub(super) latency: Option<&'static str>,
    pub(super) needs_model: bool,
    /// What KServe calls its format.
    pub(super) kserve_format: Option<&'static str>,
    /// Where a model on a claim is mounted, by what clients call it.
    mount: fn(&str) -> Option<String>,
    /// The path that answers 200 when it can serve the model.
    pub(super) ready: fn(&str) -> Option<String>,
    /// How it is started.
    pub(super) start: fn(Option<&Model>, &str) -> Start,
    /// How it comes to TLS.
    pub(super) tls: Speaks,
}

/// How a runtime comes to TLS: by itself, or by a proxy beside it.
#[derive(Debug)]
pub(super) struct Speaks {
    /// How it does so on every port that clients use; where it cannot, why.
    pub(super) itself: Result<Itself, &'static str>,
    /// Arguments by which only its own pod reaches it, for the proxy.
    pub(super) alone: &'static [&'static str],
}

/// Arguments and variables by which a program speaks TLS, with the files of [`super::tls`].
#[derive(Debug)]
pub(super) struct Itself {
    pub(super) args: &'static [&'static str],
    pub(super) env: &'static [(&'static str, &'static str)],
    /// What its author may want to know.
    pub(super) note: Option<&'static str>,
}

/// How a server is started.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// Empty: the image's own.
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(&'static str, String)>,
}

impl Runtime {
    pub(super) fn mount(&self, model_name: &str) -> Option<String> {
        (self.mount)(model_name)
    }
}

/// The runtime of this name.
pub(super) fn named(name: &str) -> Result<&'static Runtime, Mistake> {
    let names: Vec<&str> = ALL.iter().map(|runtime| runtime.name).collect();
    let short: String = name.chars().take(60).collect();
    ALL.iter().find(|runtime| runtime.name == name).ok_or_else(|| Mistake::unknown("runtime", "runtime", &short, &names))
}

/// One of the names in [`ALL`].
#[cfg(feature = "io")]
pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = ALL.iter().map(|runtime| runtime.name).collect();
    schemars::json_schema!({"type": "string", "enum": names})
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
