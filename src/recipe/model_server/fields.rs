//! The sections of a ModelServer as they are written, each with its check.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::autoscale::metric_name;
use super::runtime::Runtime;
use crate::policy::Mistake;
use crate::recipe::text::{self, Text};

/// What load is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AutoscaleFile {
    /// Percent of `cpu` in use, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cpu: Option<u32>,
    /// Metrics of pods and how much of each a replica bears: `inference_requests_per_second: 100`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) per_replica: BTreeMap<String, Text>,
    /// A query, for --as keda: the length of a queue, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prometheus: Option<PrometheusFile>,
}

/// A query and how much of it a replica bears.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PrometheusFile {
    /// Such as http://prometheus.monitoring:9090.
    pub(super) server: String,
    /// In PromQL, one number.
    pub(super) query: String,
    /// How much of it one replica bears.
    pub(super) threshold: Text,
}

/// A candidate beside what is served.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CanaryFile {
    /// Its image.
    pub(super) image: String,
    /// Percent of the requests that go to it.
    #[cfg_attr(feature = "io", schemars(range(min = 0, max = 100)))]
    pub(super) weight: u32,
    /// Requests with these headers go to it whatever the weight, with --as httproute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, String>,
    /// What it is called, such as v2; for --as knative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<String>,
}

impl CanaryFile {
    pub(super) fn check(&self) -> Result<(), Mistake> {
        text::image("image", &self.image)?;
        if self.weight > 100 {
            return Err(Mistake::range("weight", self.weight, "0..=100"));
        }
        for (name, value) in &self.headers {
            let at = format!("headers.{name}");
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) {
                return Err(Mistake::new(at, "is not the name of a header", "write letters, digits and -"));
            }
            text::bounded(&at, value, 256)?;
        }
        self.revision.as_ref().map_or(Ok(()), |revision| crate::policy::text::name("revision", revision))
    }
}

/// How a server is asked whether it is ready.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HealthFile {
    /// The path that answers 200 when it is; runtimes know theirs, of a plain server the port is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// How long it may take to load the model, 10m if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) startup: Option<Text>,
}

impl HealthFile {
    pub(super) fn check(&self) -> Result<(), Mistake> {
        self.path.as_ref().map_or(Ok(()), |path| url_path("path", path))
    }
}

/// Who may reach it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AllowFile {
    /// Pods of namespaces with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) namespaces: BTreeMap<String, String>,
    /// Pods of its own namespace with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pods: BTreeMap<String, String>,
}

impl AllowFile {
    pub(super) fn check(&self) -> Result<(), Mistake> {
        if self.namespaces.is_empty() && self.pods.is_empty() {
            return Err(Mistake::new("", "names nobody", "name labels of `namespaces` or `pods`, or leave it out"));
        }
        for (field, labels) in [("namespaces", &self.namespaces), ("pods", &self.pods)] {
            for (key, value) in labels {
                crate::policy::text::label_key(field, key)?;
                text::label_value(&format!("{field}.{key}"), value)?;
            }
        }
        Ok(())
    }
}

/// Metrics and alerts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MonitoringFile {
    /// How often metrics are read, 30s if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<Text>,
    /// Where they are; runtimes know theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// The port of a plain server's metrics, where it is not the one that requests go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// An alert when answers take longer than so many seconds, in 95 of 100 cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latency_seconds: Option<f64>,
    /// The histogram of latencies in seconds, without `_bucket`; vllm knows its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latency_metric: Option<String>,
    /// The namespace that Prometheus reads from, let in where `allowFrom` shuts others out; monitoring if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
}

impl MonitoringFile {
    pub(super) fn check(&self, runtime: &Runtime) -> Result<(), Mistake> {
        self.interval.as_ref().map_or(Ok(()), |Text(time)| text::time("interval", time).map(|_| ()))?;
        self.path.as_ref().map_or(Ok(()), |path| url_path("path", path))?;
        if self.port.is_some() && runtime.http.is_some() {
            return Err(Mistake::new("port", format!("is known of {}", runtime.name), "leave it out"));
        }
        if self.latency_seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds < 86_400.0)) {
            return Err(Mistake::new("latencySeconds", "is no time within a day", "write such as 0.1"));
        }
        if let Some(metric) = &self.latency_metric {
            metric_name("latencyMetric", metric)?;
        } else if self.latency_seconds.is_some() && runtime.latency.is_none() {
            let problem = format!("has no histogram: that of {} is not known", runtime.name);
            return Err(Mistake::new("latencySeconds", problem, "add `latencyMetric`, the name without _bucket"));
        }
        self.namespace.as_ref().map_or(Ok(()), |name| crate::policy::text::name("namespace", name))
    }
}

/// The way in from outside.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RouteFile {
    /// The Gateway of its namespace; TLS is the Gateway's.
    pub(super) gateway: String,
    /// Host names that come here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<String>,
}

impl RouteFile {
    pub(super) fn check(&self) -> Result<(), Mistake> {
        text::reference("gateway", "Gateway", &self.gateway)?;
        self.hosts.iter().enumerate().try_for_each(|(at, host)| text::reference(&format!("hosts[{at}]"), "host", host))
    }
}

/// What requests go through before.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TransformerFile {
    /// The name of its container.
    pub(super) name: String,
    /// Its image.
    pub(super) image: String,
}

impl TransformerFile {
    pub(super) fn check(&self) -> Result<(), Mistake> {
        crate::policy::text::name("name", &self.name)?;
        text::image("image", &self.image)
    }
}

fn url_path(field: &str, path: &str) -> Result<(), Mistake> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if path.starts_with('/') && path.len() <= 256 && path.bytes().all(fine) && !path.split('/').any(|part| part == "..") {
        return Ok(());
    }
    Err(Mistake::new(field, format!("`{}` is no path of a request", text::cut(path)), "write such as /healthz"))
}
