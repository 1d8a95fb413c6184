//! What keeps a server up and others out: probes, disruption budget, network policy, metrics and alerts.

use serde_json::{Value, json};

use super::{ModelServer, Port, Tls};
use crate::recipe::names::NAME;
use crate::recipe::object::Named;
use crate::recipe::pod::Around;
use crate::recipe::text::Text;

/// It gets requests when it can answer them, is given time to load its model, and to finish what it began.
pub(super) fn probes(server: &ModelServer, around: &mut Around) {
    let path = server.health.path.clone().or_else(|| (server.runtime.ready)(&server.model_name));
    let port = server.ports()[0];
    let probe = |period: u64, failures: u64| {
        let mut probe = json!({"periodSeconds": period, "failureThreshold": failures});
        match &path {
            // Whose certificate it is, kubelet does not look at.
            Some(path) if port.tls => probe["httpGet"] = json!({"path": path, "port": port.number, "scheme": "HTTPS"}),
            Some(path) => probe["httpGet"] = json!({"path": path, "port": port.number}),
            // A proxy takes connections before the program does.
            None => probe["tcpSocket"] = json!({"port": port.program}),
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

/// Who may reach the ports of requests; Prometheus is let in to metrics. Behind a proxy everybody may, and the program itself nobody.
pub(super) fn network_policy(server: &ModelServer, of: &Named) -> Option<Value> {
    let policy = |ingress: Vec<Value>| {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": of.metadata(&of.name),
            "spec": {"podSelector": {"matchLabels": {NAME: of.name}}, "policyTypes": ["Ingress"], "ingress": ingress},
        })
    };
    let tcp = |port: &Port| json!({"protocol": "TCP", "port": port.number});
    let ports = server.ports();
    let Some(allow) = &server.allow_from else {
        let proxied = server.tls.as_ref().is_some_and(Tls::is_proxied);
        return proxied.then(|| policy(vec![json!({"ports": ports.iter().map(tcp).collect::<Vec<_>>()})]));
    };
    let requests: Vec<Value> = ports.iter().filter(|port| !port.is("metrics")).map(tcp).collect();
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
        let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]);
        ingress.push(json!({"from": from, "ports": [tcp(&server.metrics().0)]}));
    }
    Some(policy(ingress))
}

/// A ServiceMonitor, and a PrometheusRule with its alerts.
pub(super) fn monitoring(server: &ModelServer, of: &Named) -> Vec<Value> {
    let Some(monitoring) = &server.monitoring else { return Vec::new() };
    let (port, path) = server.metrics();
    let interval = monitoring.interval.as_ref().map_or("30s", |Text(interval)| interval.as_str());
    let mut endpoint = json!({"port": port.name, "path": path, "interval": interval});
    if let Some(tls) = server.tls.as_ref().filter(|_| port.tls) {
        endpoint["scheme"] = json!("https");
        endpoint["tlsConfig"] = tls.prometheus(of);
    }
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": of.metadata(&of.name),
        "spec": {
            "selector": {"matchLabels": {NAME: of.name}},
            "endpoints": [endpoint],
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
