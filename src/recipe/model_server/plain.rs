//! A server as plain Kubernetes objects: Deployment, Service, autoscaler, disruption budget, network policy, monitoring.
//! A candidate is a second Deployment behind the same Service: its part of the requests is its part of the replicas.

use serde_json::{Value, json};

use super::fields::CanaryFile;
use super::{ModelServer, Port, autoscale, guard};
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::names::{KUEUE_QUEUE, NAME};
use crate::recipe::object::Named;
use crate::recipe::pod::template;

/// The label that tells what is served from the candidate.
pub(super) const TRACK: &str = "gangplank.dev/track";

pub(super) fn render(server: &ModelServer, of: &Named) -> Result<Rendered, Mistake> {
    if server.replicas.min == 0 {
        return Err(Mistake::new(
            "spec.replicas",
            "begins at 0, which an HPA cannot do",
            "begin at 1, or render --as keda or --as knative",
        ));
    }
    autoscale::known(server)?;
    let mut notes = notes(server, of);
    let mut objects = server.first(of);
    match &server.canary {
        None => objects.push(deployment(server, of, None, server.replicas.is_fixed().then_some(server.replicas.max))),
        Some(canary) => {
            let (stable, candidate) = split(server, canary)?;
            let is = (200 * candidate + stable + candidate) / (2 * (stable + candidate)).max(1);
            if is != canary.weight {
                let replicas = stable + candidate;
                notes.push(format!(
                    "of {replicas} replicas {candidate} are the candidate: {is} % and not {}; more replicas or --as httproute come nearer",
                    canary.weight
                ));
            }
            objects.push(deployment(server, of, Some(("stable", None)), Some(stable)));
            objects.push(deployment(server, of, Some(("candidate", Some(canary))), Some(candidate)));
        }
    }
    objects.push(service(server, of, &of.name, &json!({NAME: of.name})));
    objects.extend(around(server, of));
    Ok(Rendered { objects, notes })
}

/// What stands beside Deployments and Services in every form of plain objects.
pub(super) fn around(server: &ModelServer, of: &Named) -> Vec<Value> {
    let autoscaler = autoscale::autoscaler(server, of);
    let guards = [autoscaler, guard::budget(server, of), guard::network_policy(server, of)];
    guards.into_iter().flatten().chain(guard::monitoring(server, of)).collect()
}

pub(super) fn notes(server: &ModelServer, of: &Named) -> Vec<String> {
    let mut notes = server.worker.notes();
    if server.allow_from.is_none() {
        notes.push("no allowFrom: every pod of the cluster may send requests".into());
    }
    if !server.autoscale.per_replica.is_empty() && !server.replicas.is_fixed() {
        notes.push("perReplica metrics come from an adapter (prometheus-adapter or the like), which must be there".into());
    }
    if let Some(tls) = &server.tls {
        notes.extend(tls.notes(of, server.runtime, !server.worker.command.is_empty(), server.monitoring.is_some()));
    }
    if server.replicas.max == 1 {
        notes.push("one replica: every update and every drained node is an outage".into());
    }
    notes
}

/// Replicas of what is served and of the candidate.
fn split(server: &ModelServer, canary: &CanaryFile) -> Result<(u32, u32), Mistake> {
    let remedy = "write one number of replicas, or render --as httproute";
    if !server.replicas.is_fixed() {
        return Err(Mistake::new("spec.canary", "has a weight of replicas that come and go", remedy));
    }
    if !canary.headers.is_empty() {
        return Err(Mistake::new("spec.canary.headers", "cannot be told apart by a Service", "render --as httproute"));
    }
    let all = server.replicas.max;
    let part = (u64::from(all) * u64::from(canary.weight) + 50) / 100;
    let part = u32::try_from(part).unwrap_or(all);
    // Neither vanishes as long as its weight is not 0.
    let part = if canary.weight == 0 {
        0
    } else if canary.weight == 100 {
        all
    } else {
        part.clamp(1, all.max(2) - 1)
    };
    if all == 1 && (1..100).contains(&canary.weight) {
        return Err(Mistake::new("spec.replicas", "is 1, which cannot be divided", "write at least 2, or render --as httproute"));
    }
    Ok((all - part, part))
}

/// `track` is absent where there is no candidate; replicas are absent where an autoscaler says how many.
pub(super) fn deployment(
    server: &ModelServer,
    of: &Named,
    track: Option<(&'static str, Option<&CanaryFile>)>,
    replicas: Option<u32>,
) -> Value {
    let mut worker = server.worker.clone();
    let mut around = server.around(of);
    let mut name = of.name.clone();
    let mut selector = json!({NAME: of.name});
    if let Some((track, canary)) = track {
        around.labels.push((TRACK, track.to_owned()));
        selector[TRACK] = json!(track);
        if let Some(canary) = canary {
            worker.image.clone_from(&canary.image);
            name = format!("{}-candidate", of.name);
        }
    }
    if server.replicas.max > 1 {
        let spread = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector},
        }]);
        around.pod.insert("topologySpreadConstraints".to_owned(), spread);
    }
    let mut metadata = of.metadata(&name);
    if let Some(queue) = &server.worker.queue {
        metadata["labels"][KUEUE_QUEUE] = json!(queue);
    }
    let mut spec = json!({
        "selector": {"matchLabels": selector},
        // A new replica serves before an old one goes; it needs devices of its own for that time.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "progressDeadlineSeconds": server.startup_seconds + 300,
        "template": template(of, &worker, &around),
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = json!(replicas);
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
}

pub(super) fn service(server: &ModelServer, of: &Named, name: &str, selector: &Value) -> Value {
    let port = |port: &Port| {
        let mut made = json!({"name": port.name, "port": port.number, "targetPort": port.number});
        if port.tls {
            made["appProtocol"] = json!("https");
        }
        made
    };
    let ports: Vec<Value> = server.ports().iter().map(port).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": of.metadata(name),
        "spec": {"type": "ClusterIP", "selector": selector, "ports": ports},
    })
}
