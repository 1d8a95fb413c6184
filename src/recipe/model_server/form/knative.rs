//! A Knative Service: revisions with their parts of the requests, down to none without a query.

use serde_json::{Map, Value, json};

use super::Form;
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::model_server::{ModelServer, guard, plain};
use crate::recipe::object::Named;
use crate::recipe::pod::template;

pub(super) const KNATIVE: Form = Form { name: "knative", render };

fn render(server: &ModelServer, of: &Named) -> Result<Rendered, Mistake> {
    if server.tls.is_some() {
        let problem = "has no place with Knative, whose queue-proxy takes TLS and speaks plain HTTP to the server";
        return Err(Mistake::new("spec.tls", problem, "leave it out and switch on Knative's system-internal-tls, or leave out --as"));
    }
    let mut worker = server.worker.clone();
    let mut around = server.around(of);
    // Knative asks one port, and keeps its own idea of what a pod is: the fields that it takes without feature flags.
    around.ports = vec![("http1", server.http)];
    around.container.remove("lifecycle");
    around.container.remove("startupProbe");
    let mut spec = Map::new();
    let mut metadata = Map::new();
    let mut traffic = Vec::new();
    if let Some(canary) = &server.canary {
        let revision = |name: &Option<String>| name.as_ref().map(|name| format!("{}-{name}", of.name));
        let (Some(current), Some(candidate)) = (revision(&server.revision), revision(&canary.revision)) else {
            let problem = "needs to know what both versions are called";
            return Err(Mistake::new("spec.canary", problem, "add `revision: v1` to the spec and `revision: v2` to the canary"));
        };
        worker.image.clone_from(&canary.image);
        metadata.insert("name".to_owned(), json!(candidate));
        traffic.push(json!({"tag": "current", "revisionName": current, "percent": 100 - canary.weight}));
        traffic.push(json!({"tag": "candidate", "revisionName": candidate, "percent": canary.weight}));
        if !canary.headers.is_empty() {
            let problem = "are nothing that Knative goes by";
            return Err(Mistake::new(
                "spec.canary.headers",
                problem,
                "leave them out: the candidate has an address of its own, or render --as httproute",
            ));
        }
    } else if let Some(revision) = &server.revision {
        metadata.insert("name".to_owned(), json!(format!("{}-{revision}", of.name)));
    }
    let made = template(of, &worker, &around);
    let pod = &made["spec"];
    metadata.insert("labels".to_owned(), of.labels());
    metadata.insert(
        "annotations".to_owned(),
        json!({
            "autoscaling.knative.dev/min-scale": server.replicas.min.to_string(),
            "autoscaling.knative.dev/max-scale": server.replicas.max.to_string(),
        }),
    );
    for field in ["containers", "volumes", "serviceAccountName", "imagePullSecrets", "enableServiceLinks", "automountServiceAccountToken"] {
        if let Some(value) = pod.get(field) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
    restricted(&mut spec);
    if let Some(requests) = server.concurrency {
        spec.insert("containerConcurrency".to_owned(), json!(requests));
    }
    let mut service = json!({"template": {"metadata": metadata, "spec": spec}});
    if !traffic.is_empty() {
        service["traffic"] = json!(traffic);
    }
    let mut objects = server.worker.storage.objects(of);
    objects.push(json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": of.metadata(&of.name), "spec": service}));
    objects.extend(guard::monitoring(server, of).into_iter().filter(|object| object["kind"] == "PrometheusRule"));
    let mut notes = plain::notes(server, of);
    notes.push(
        "Knative takes schedulerName and affinity only by feature flags: they are left out, and Gangplank's admission sets the first"
            .into(),
    );
    if server.worker.accelerators.as_ref().is_some_and(|accelerators| !accelerators.nodes.is_empty()) {
        notes.push("the product is not asked for: Knative takes no node affinity without its feature flag".into());
    }
    Ok(Rendered { objects, notes })
}

/// The pod's security context is behind a flag, too; the containers have what they can.
fn restricted(spec: &mut Map<String, Value>) {
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        container["securityContext"]["runAsNonRoot"] = json!(true);
        container["securityContext"]["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
}
