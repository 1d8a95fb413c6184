//! What keeps a server up and others out: probes, disruption budget, network policy, metrics and alerts.

use serde_json::{Value, json};

use super::ModelServer;
use crate::recipe::names::NAME;
use crate::recipe::object::Named;
use crate::recipe::pod::Around;
use crate::recipe::text::Text;

/// It gets requests when it can answer them, is given time to load its model, and to finish what it began.
pub(super) fn probes(server: &ModelServer, around: &mut Around) {
    let path = server.health.path.clone().or_else(|| (server.runtime.ready)(&server.model_name));
    let probe = |period: u64, failures: u64| {
        let mut probe = json!({"periodSeconds": period, "failureThreshold": failures});
        match &path {
            Some(path) => probe["httpGet"] = json!({"path": path, "port": server.http}),
            None => probe["tcpSocket"] = json!({"port": server.http}),
        }
        probe
    };
    for (name, probe) in [
        ("startupProbe", probe(10, server.startup_seconds.div_ceil(10).max(1))),
        ("readinessProbe", probe(5, 3)),
        ("livenessProbe", probe(20, 6)),
    ] {
        around.container.insert(name.to_owned(), probe);
    }
    // Endpoints hear of the end a moment later than the pod.
    around.container.insert("lifecycle".to_owned(), json!({"preStop": {"sleep": {"seconds": 5}}}));
    around.pod.insert("terminationGracePeriodSeconds".to_owned(), json!(60));
}

/// One at a time is drained; none where there is only one, which would block every drain for ever.
pub(super) fn budget(server: &ModelServer, of: &Named) -> Option<Value> {
    let spec = json!({
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {NAME: of.name}},
    });
    (server.replicas.min >= 2)
        .then(|| json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": of.metadata(&of.name), "spec": spec}))
}

/// Who may reach the ports of requests; Prometheus is let in to metrics.
pub(super) fn network_policy(server: &ModelServer, of: &Named) -> Option<Value> {
    let allow = server.allow_from.as_ref()?;
    let (metrics, _) = server.metrics();
    let tcp = |port: u16| json!({"protocol": "TCP", "port": port});
    let requests: Vec<Value> = server.ports().iter().filter(|(name, _)| *name != "metrics").map(|(_, port)| tcp(*port)).collect();
    let mut from = Vec::new();
    if !allow.namespaces.is_empty() {
        from.push(json!({"namespaceSelector": {"matchLabels": allow.namespaces}}));
    }
    if !allow.pods.is_empty() {
        from.push(json!({"podSelector": {"matchLabels": allow.pods}}));
    }
    let mut ingress = vec![json!({"from": from, "ports": requests})];
    if let Some(monitoring) = &server.monitoring {
        let namespace = monitoring.namespace.as_deref().unwrap_or("monitoring");
        let port = server.ports().iter().find(|(name, _)| *name == metrics).map_or(server.http, |(_, port)| *port);
        let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]);
        ingress.push(json!({"from": from, "ports": [tcp(port)]}));
    }
    Some(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": of.metadata(&of.name),
        "spec": {"podSelector": {"matchLabels": {NAME: of.name}}, "policyTypes": ["Ingress"], "ingress": ingress},
    }))
}

/// A ServiceMonitor, and a PrometheusRule with its alerts.
pub(super) fn monitoring(server: &ModelServer, of: &Named) -> Vec<Value> {
    let Some(monitoring) = &server.monitoring else { return Vec::new() };
    let (port, path) = server.metrics();
    let interval = monitoring.interval.as_ref().map_or("30s", |Text(interval)| interval.as_str());
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": of.metadata(&of.name),
        "spec": {
            "selector": {"matchLabels": {NAME: of.name}},
            "endpoints": [{"port": port, "path": path, "interval": interval}],
        },
    });
    let mut rules = vec![json!({
        "alert": "ModelServerDown",
        "expr": format!(r#"absent(up{{job="{}"}} == 1)"#, of.name),
        "for": "5m",
        "labels": {"severity": "critical"},
        "annotations": {
            "summary": format!("No replica of {} answers", of.name),
            "description": "Prometheus has read no metrics of any replica for five minutes.",
        },
    })];
    if let Some(seconds) = monitoring.latency_seconds {
        let metric = monitoring.latency_metric.as_deref().or(server.runtime.latency).unwrap_or_default();
        rules.push(json!({
            "alert": "HighModelLatency",
            "expr": format!(r#"histogram_quantile(0.95, sum(rate({metric}_bucket{{job="{}"}}[5m])) by (le, model)) > {seconds}"#, of.name),
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": format!("{} answers slowly", of.name),
                "description": format!("Of 100 answers 5 take longer than {seconds} s."),
            },
        }));
    }
    let rule = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": of.metadata(&of.name),
        "spec": {"groups": [{"name": format!("{}.serving", of.name), "rules": rules}]},
    });
    vec![monitor, rule]
}
