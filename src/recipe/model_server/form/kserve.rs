//! A KServe InferenceService: the model by its format and address, a transformer before it.

use serde_json::json;

use super::Form;
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::model_server::{ModelServer, plain};
use crate::recipe::object::Named;
use crate::recipe::pod::template;

pub(super) const KSERVE: Form = Form { name: "kserve", render };

fn render(server: &ModelServer, of: &Named) -> Result<Rendered, Mistake> {
    let Some(format) = server.runtime.kserve_format else {
        let problem = format!("is {}, which is no format of KServe's", server.runtime.name);
        return Err(Mistake::new("spec.runtime", problem, "write tensorflow-serving, triton or vllm, or leave out --as"));
    };
    let Some(model) = &server.model else {
        return Err(Mistake::new("spec.model", "is missing", "say where the model is"));
    };
    if server.tls.is_some() {
        let problem = "has no place with KServe, whose own containers speak plain HTTP to the server and end TLS at the ingress";
        return Err(Mistake::new("spec.tls", problem, "leave it out and let KServe's ingress speak TLS, or leave out --as"));
    }
    let made = template(of, &server.worker, &server.around(of));
    let (pod, container) = (&made["spec"], &made["spec"]["containers"][0]);
    let mut predictor = json!({
        "model": {"modelFormat": {"name": format}, "storageUri": model.storage_uri(), "resources": container["resources"]},
        "minReplicas": server.replicas.min,
        "maxReplicas": server.replicas.max,
    });
    if let Some(env) = container["env"].as_array().filter(|_| !server.worker.env.is_empty() || !server.worker.secret_env.is_empty()) {
        predictor["model"]["env"] = json!(env);
    }
    if let Some(requests) = server.concurrency {
        predictor["containerConcurrency"] = json!(requests);
    }
    if let Some(canary) = &server.canary {
        // KServe rolls from the last version to this one: its image is the candidate's.
        predictor["canaryTrafficPercent"] = json!(canary.weight);
        predictor["model"]["image"] = json!(canary.image);
    }
    for field in ["schedulerName", "serviceAccountName", "priorityClassName", "affinity", "tolerations", "nodeSelector", "securityContext"]
    {
        if let Some(value) = pod.get(field) {
            predictor[field] = value.clone();
        }
    }
    let mut spec = json!({"predictor": predictor});
    if let Some(transformer) = &server.transformer {
        spec["transformer"] = json!({"containers": [{"name": transformer.name, "image": transformer.image}]});
    }
    let object = json!({
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": of.metadata(&of.name),
        "spec": spec,
    });
    Ok(Rendered { objects: vec![object], notes: plain::notes(server, of) })
}
