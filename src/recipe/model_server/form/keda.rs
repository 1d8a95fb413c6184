//! Plain objects with KEDA's ScaledObject instead of an HPA: by a query, and down to none.

use serde_json::json;

use super::Form;
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::model_server::{ModelServer, autoscale, guard, plain};
use crate::recipe::names::NAME;
use crate::recipe::object::Named;

pub(super) const KEDA: Form = Form { name: "keda", render };

fn render(server: &ModelServer, of: &Named) -> Result<Rendered, Mistake> {
    if server.replicas.is_fixed() {
        return Err(Mistake::new("spec.replicas", "is one number: there is nothing to scale", "write a range: `replicas: 0..10`"));
    }
    if server.canary.is_some() {
        return Err(Mistake::new("spec.canary", "has no weight with KEDA", "render --as httproute or --as knative"));
    }
    if server.replicas.min == 0 && server.autoscale.prometheus.is_none() {
        let problem = "says nothing that is there while no replica is";
        return Err(Mistake::new("spec.autoscale", problem, "add `prometheus` with a query, such as the length of a queue"));
    }
    if !server.autoscale.per_replica.is_empty() {
        let problem = "are metrics of pods, which KEDA does not read";
        return Err(Mistake::new("spec.autoscale.perReplica", problem, "ask Prometheus for them by `prometheus`"));
    }
    autoscale::known(server)?;
    let mut objects = server.first(of);
    objects.push(plain::deployment(server, of, None, None));
    objects.push(plain::service(server, of, &of.name, &json!({NAME: of.name})));
    objects.push(autoscale::scaled_object(server, of));
    objects.extend(guard::budget(server, of));
    objects.extend(guard::network_policy(server, of));
    objects.extend(guard::monitoring(server, of));
    Ok(Rendered { objects, notes: plain::notes(server, of) })
}
