//! Plain objects with a Gateway API HTTPRoute before them: a candidate gets its weight exactly, or requests by header.

use serde_json::json;

use super::Form;
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::model_server::{ModelServer, autoscale, plain};
use crate::recipe::names::NAME;
use crate::recipe::object::Named;

pub(super) const HTTPROUTE: Form = Form { name: "httproute", render };

fn render(server: &ModelServer, of: &Named) -> Result<Rendered, Mistake> {
    let Some(route) = &server.route else {
        return Err(Mistake::new("spec.route", "is missing", "name the Gateway: `route: {gateway: public}`"));
    };
    if server.replicas.min == 0 {
        return Err(Mistake::new(
            "spec.replicas",
            "begins at 0, which an HPA cannot do",
            "begin at 1, or render --as keda or --as knative",
        ));
    }
    autoscale::known(server)?;
    let fixed = server.replicas.is_fixed().then_some(server.replicas.max);
    let mut objects = server.first(of);
    let candidate = format!("{}-candidate", of.name);
    let tracks = |track: &str| json!({NAME: of.name, plain::TRACK: track});
    let all = json!({NAME: of.name});
    let port = server.ports()[0].number;
    let mut rules = Vec::new();
    match &server.canary {
        None => {
            objects.push(plain::deployment(server, of, None, fixed));
            objects.push(plain::service(server, of, &of.name, &all));
            rules.push(json!({"backendRefs": [{"name": of.name, "port": port}]}));
        }
        Some(canary) => {
            objects.push(plain::deployment(server, of, Some(("stable", None)), fixed));
            // The autoscaler is the served version's; a candidate has a replica for each ten percent, at least one.
            let replicas = fixed.unwrap_or(server.replicas.min.max(1)).min(canary.weight.div_ceil(10).max(1));
            objects.push(plain::deployment(server, of, Some(("candidate", Some(canary))), Some(replicas)));
            objects.push(plain::service(server, of, &of.name, &tracks("stable")));
            objects.push(plain::service(server, of, &candidate, &tracks("candidate")));
            if !canary.headers.is_empty() {
                let headers: Vec<_> = canary.headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                rules.push(json!({"matches": [{"headers": headers}], "backendRefs": [{"name": &candidate, "port": port}]}));
            }
            rules.push(json!({"backendRefs": [
                {"name": of.name, "port": port, "weight": 100 - canary.weight},
                {"name": &candidate, "port": port, "weight": canary.weight},
            ]}));
        }
    }
    let services: Vec<String> = [of.name.clone()].into_iter().chain(server.canary.is_some().then_some(candidate)).collect();
    objects.extend(server.tls.iter().flat_map(|tls| tls.policies(of, &services)));
    objects.extend(plain::around(server, of));
    let mut spec = json!({"parentRefs": [{"name": route.gateway}], "rules": rules});
    if !route.hosts.is_empty() {
        spec["hostnames"] = json!(route.hosts);
    }
    objects.push(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": of.metadata(&of.name),
        "spec": spec,
    }));
    Ok(Rendered { objects, notes: plain::notes(server, of) })
}
