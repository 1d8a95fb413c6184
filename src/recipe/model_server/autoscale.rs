//! How many replicas, and what load makes more of them: a HorizontalPodAutoscaler, or KEDA's ScaledObject.

use serde_json::{Value, json};

use super::ModelServer;
use super::fields::AutoscaleFile;
use crate::policy::Mistake;
use crate::recipe::object::Named;
use crate::recipe::text::{self, Text};

/// Fewest and most replicas; equal where the number is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replicas {
    pub(super) min: u32,
    pub(super) max: u32,
}

impl Replicas {
    pub(super) fn check(written: Option<&Text>) -> Result<Self, Mistake> {
        let Some(Text(text)) = written else { return Ok(Self { min: 1, max: 1 }) };
        let number = |text: &str| text.trim().parse().ok().filter(|count| *count <= REPLICAS_MAX);
        let read = match text.split_once("..") {
            Some((min, max)) => number(min).zip(number(max)).filter(|(min, max)| min < max),
            None => number(text).filter(|count| *count > 0).map(|count| (count, count)),
        };
        let (min, max) = read.ok_or_else(|| {
            let problem = format!("`{}` is no number of replicas", text::cut(text));
            Mistake::new("replicas", problem, format!("write a number within 1..={REPLICAS_MAX}, or a range: 2..10"))
        })?;
        Ok(Self { min, max })
    }

    pub(super) fn is_fixed(self) -> bool {
        self.min == self.max
    }
}

impl AutoscaleFile {
    pub(super) fn check(&self, replicas: Replicas) -> Result<(), Mistake> {
        let says = self.cpu.is_some() || !self.per_replica.is_empty() || self.prometheus.is_some();
        if replicas.is_fixed() && says {
            return Err(Mistake::new("", "stands beside a fixed number of replicas", "write a range: `replicas: 2..10`"));
        }
        if self.cpu.is_some_and(|percent| !(1..=1000).contains(&percent)) {
            return Err(Mistake::range("cpu", self.cpu.unwrap_or_default(), "1..=1000"));
        }
        for (metric, Text(value)) in &self.per_replica {
            let at = format!("perReplica.{metric}");
            metric_name(&at, metric)?;
            text::quantity(&at, value)?;
        }
        if let Some(prometheus) = &self.prometheus {
            text::bounded("prometheus.query", &prometheus.query, 2048)?;
            text::quantity("prometheus.threshold", &prometheus.threshold.0)?;
            let server = &prometheus.server;
            let fine = server.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte)) && server.len() <= 256;
            if !fine || !(server.starts_with("http://") || server.starts_with("https://")) {
                let problem = format!("`{}` is no address", text::cut(server));
                return Err(Mistake::new("prometheus.server", problem, "write such as http://prometheus.monitoring:9090"));
            }
        }
        Ok(())
    }
}

/// Refuses a part of processors where none are asked for: it would never be known.
pub(super) fn known(server: &ModelServer) -> Result<(), Mistake> {
    let scale = &server.autoscale;
    let by_cpu = scale.cpu.is_some() || (scale.per_replica.is_empty() && scale.prometheus.is_none());
    if server.replicas.is_fixed() || !by_cpu || server.worker.cpu.is_some() {
        return Ok(());
    }
    let remedy = "add `cpu` to the spec, or scale by something else";
    Err(Mistake::new("spec.autoscale.cpu", "is a part of nothing: no `cpu` is asked for", remedy))
}

/// The name of a metric in Prometheus' grammar: it becomes a part of an expression.
pub(super) fn metric_name(field: &str, name: &str) -> Result<(), Mistake> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    if name.len() <= 128 && name.bytes().all(fine) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(Mistake::new(field, format!("`{}` is not the name of a metric", text::cut(name)), "write letters, digits, _ and :"))
}

/// What scales the Deployment of this name; none for a fixed number.
pub(super) fn autoscaler(server: &ModelServer, of: &Named) -> Option<Value> {
    let Replicas { min, max } = server.replicas;
    if server.replicas.is_fixed() {
        return None;
    }
    let scale = &server.autoscale;
    let mut metrics = Vec::new();
    if scale.cpu.is_some() || scale.per_replica.is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": scale.cpu.unwrap_or(CPU_DEFAULT)});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    for (metric, value) in &scale.per_replica {
        let target = json!({"type": "AverageValue", "averageValue": value.0});
        metrics.push(json!({"type": "Pods", "pods": {"metric": {"name": metric}, "target": target}}));
    }
    Some(json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": of.metadata(&of.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of.name},
            "minReplicas": min,
            "maxReplicas": max,
            "metrics": metrics,
            // Loading a model takes minutes: what was added is kept for a while.
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }))
}

/// The same by KEDA, which also goes down to none.
pub(super) fn scaled_object(server: &ModelServer, of: &Named) -> Value {
    let scale = &server.autoscale;
    let mut triggers = Vec::new();
    if let Some(prometheus) = &scale.prometheus {
        let metadata = json!({"serverAddress": prometheus.server, "query": prometheus.query, "threshold": prometheus.threshold.0});
        triggers.push(json!({"type": "prometheus", "metadata": metadata}));
    }
    if let Some(cpu) = scale.cpu.or((triggers.is_empty()).then_some(CPU_DEFAULT)) {
        triggers.push(json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": cpu.to_string()}}));
    }
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": of.metadata(&of.name),
        "spec": {
            "scaleTargetRef": {"name": of.name},
            "minReplicaCount": server.replicas.min,
            "maxReplicaCount": server.replicas.max,
            "cooldownPeriod": 300,
            "triggers": triggers,
        },
    })
}

const REPLICAS_MAX: u32 = 1000;
const CPU_DEFAULT: u32 = 70;
