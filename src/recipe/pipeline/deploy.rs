//! A step that puts a ModelServer into service: its objects are applied, one after the other, by a ServiceAccount that may do
//! that and no more. Argo's resource templates take one object each, so that the step is a list of them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::policy::Mistake;
use crate::recipe::model_server::ModelServerSpec;
use crate::recipe::object::{Named, SpecOf as _};
use crate::recipe::{Recipe, Rendered, text};

/// A server that a step puts into service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeployFile {
    /// What the server is called.
    name: String,
    /// What is served, as in the spec of a ModelServer.
    server: ModelServerSpec,
}

/// A checked server.
#[derive(Debug)]
pub(super) struct Deploy {
    name: String,
    server: Box<dyn Recipe>,
}

impl DeployFile {
    pub(super) fn check(self, of: &Named) -> Result<Deploy, Mistake> {
        text::object_name("name", &self.name)?;
        let named = Named { name: self.name.clone(), ..of.clone() };
        let server = self.server.check(&named).map_err(|mistake| mistake.within("server"))?;
        Ok(Deploy { name: self.name, server })
    }
}

impl Deploy {
    pub(super) fn render(&self, of: &Named) -> Result<Rendered, Mistake> {
        self.server.render(&Named { name: self.name.clone(), ..of.clone() }, None)
    }
}

/// The step of this name: a list of templates, the first of which names the others.
pub(super) fn templates(step: &str, retries: u32, account: &str, objects: &[Value]) -> Vec<Value> {
    let name = |at: usize| format!("{step}-{at}");
    // Claims and files before what mounts them.
    let list: Vec<Value> = (0..objects.len()).map(|at| json!([{"name": name(at), "template": name(at)}])).collect();
    let mut all = vec![json!({"name": step, "steps": list})];
    for (at, object) in objects.iter().enumerate() {
        let mut template = json!({
            "name": name(at),
            "serviceAccountName": account,
            // The user that Argo's own image is made for.
            "securityContext": {"runAsNonRoot": true, "runAsUser": 8737, "seccompProfile": {"type": "RuntimeDefault"}},
            "resource": {"action": "apply", "manifest": object.to_string()},
        });
        if retries > 0 {
            template["retryStrategy"] = json!({"limit": retries.to_string(), "retryPolicy": "Always"});
        }
        all.push(template);
    }
    all
}

/// A ServiceAccount that may create these objects' kinds, and read and change them by their names.
pub(super) fn rights(of: &Named, account: &str, objects: &[Value]) -> Vec<Value> {
    let metadata = || of.metadata(account);
    let mut rules = vec![json!({"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]})];
    for (kind, group, plural) in KINDS {
        let names: Vec<&Value> =
            objects.iter().filter(|object| object["kind"] == *kind).map(|object| &object["metadata"]["name"]).collect();
        if !names.is_empty() {
            // Nobody knows a name before there is an object: creation cannot be bound to one.
            rules.push(json!({"apiGroups": [group], "resources": [plural], "verbs": ["create"]}));
            rules.push(json!({"apiGroups": [group], "resources": [plural], "resourceNames": names, "verbs": ["get", "patch"]}));
        }
    }
    let subject = match &of.namespace {
        Some(namespace) => json!({"kind": "ServiceAccount", "name": account, "namespace": namespace}),
        None => json!({"kind": "ServiceAccount", "name": account}),
    };
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata()}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata(), "rules": rules}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata(),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
            "subjects": [subject],
        }),
    ]
}

/// What a server is made of: kind, group, and what the API server calls a list of them.
pub(super) const KINDS: &[(&str, &str, &str)] = &[
    ("PersistentVolumeClaim", "", "persistentvolumeclaims"),
    ("ConfigMap", "", "configmaps"),
    ("Certificate", "cert-manager.io", "certificates"),
    ("Service", "", "services"),
    ("Deployment", "apps", "deployments"),
    ("HorizontalPodAutoscaler", "autoscaling", "horizontalpodautoscalers"),
    ("PodDisruptionBudget", "policy", "poddisruptionbudgets"),
    ("NetworkPolicy", "networking.k8s.io", "networkpolicies"),
    ("ServiceMonitor", "monitoring.coreos.com", "servicemonitors"),
    ("PrometheusRule", "monitoring.coreos.com", "prometheusrules"),
];
