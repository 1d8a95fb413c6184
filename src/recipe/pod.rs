//! A pod of a workload, with what people forget: shared memory, affinity to the right nodes, a home that can be written,
//! the restricted security context. What differs between kinds comes in as [`Around`].

use serde_json::{Map, Value, json};

use super::accelerators::{Accelerators, Label};
use super::fields::{Beside, MAIN, Worker};
use super::names::{COMPLETION_INDEX, JOB_NAME, PROFILE, SCHEDULER};
use super::object::Named;
use super::text;

/// What a kind adds to the pod of a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// Annotations of the pod.
    pub(super) annotations: Vec<(&'static str, String)>,
    /// Labels beside the common ones.
    pub(super) labels: Vec<(&'static str, String)>,
    /// Variables that come before the user's, in this order; the user's win where the name is the same.
    pub(super) env: Vec<Variable>,
    /// Variables that come last, for they name those of Secrets.
    pub(super) late_env: Vec<Variable>,
    /// Ports of the first container: name and number.
    pub(super) ports: Vec<(&'static str, u16)>,
    /// What is run instead of the user's command.
    pub(super) command: Option<Vec<String>>,
    /// The Service that gives pods their host names.
    pub(super) subdomain: Option<String>,
    /// `Never` for Jobs; absent for what runs for ever.
    pub(super) restart_policy: Option<&'static str>,
    /// No two pods of the Job of this name on one node.
    pub(super) apart: Option<String>,
    /// Fields of the first container: probes, lifecycle.
    pub(super) container: Map<String, Value>,
    /// Fields of the pod.
    pub(super) pod: Map<String, Value>,
    /// Volumes beside those of the worker.
    pub(super) volumes: Vec<Value>,
}

/// An environment variable of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) value: From,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A text; `$(NAME)` in it stands for a variable before it.
    Text(String),
    /// The completion index of the pod.
    Index,
}

impl Variable {
    pub(super) fn text(name: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        Self { name, value: From::Text(value.to_string()) }
    }

    pub(super) const fn index(name: &'static str) -> Self {
        Self { name, value: From::Index }
    }

    fn render(&self) -> Value {
        match &self.value {
            From::Text(text) => json!({"name": self.name, "value": text}),
            From::Index => json!({"name": self.name, "valueFrom": {"fieldRef": {"fieldPath": index_path()}}}),
        }
    }
}

/// Where a pod of an Indexed Job, and of no other, finds its index.
pub(super) fn index_path() -> String {
    format!("metadata.annotations['{COMPLETION_INDEX}']")
}

/// `metadata` and `spec` of a pod template.
pub(super) fn template(of: &Named, worker: &Worker, around: &Around) -> Value {
    let mut labels = of.labels();
    for (key, value) in &around.labels {
        labels[*key] = json!(value);
    }
    let mut metadata = json!({"labels": labels});
    let profile = worker.profile.iter().map(|profile| (PROFILE, profile.clone()));
    let annotations: Map<String, Value> =
        around.annotations.iter().cloned().chain(profile).map(|(key, value)| (key.to_owned(), json!(value))).collect();
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    json!({"metadata": metadata, "spec": spec(of, worker, around)})
}

fn spec(of: &Named, worker: &Worker, around: &Around) -> Value {
    let mut volumes = worker.storage.volumes(of);
    if let Some(size) = &worker.shm {
        volumes.push(json!({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}}));
    }
    volumes.extend(around.volumes.iter().cloned());
    let containers: Vec<Value> = std::iter::once(main_container(worker, around)).chain(worker.beside.iter().map(container)).collect();
    let mut spec = around.pod.clone();
    let mut set = |key: &str, value: Value| spec.insert(key.to_owned(), value);
    set("containers", json!(containers));
    set("automountServiceAccountToken", json!(worker.service_account.is_some()));
    set("enableServiceLinks", json!(false));
    set(
        "securityContext",
        json!({
            "runAsNonRoot": true,
            "runAsUser": worker.user,
            "runAsGroup": worker.user,
            "fsGroup": worker.user,
            // A data set of a million files is not walked through at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }),
    );
    if !volumes.is_empty() {
        set("volumes", json!(volumes));
    }
    if let Some(policy) = around.restart_policy {
        set("restartPolicy", json!(policy));
    }
    if let Some(subdomain) = &around.subdomain {
        set("subdomain", json!(subdomain));
    }
    if let Some(scheduler) = worker.scheduler() {
        set("schedulerName", json!(scheduler));
    }
    if let Some(priority) = &worker.priority {
        set("priorityClassName", json!(priority));
    }
    if let Some(account) = &worker.service_account {
        set("serviceAccountName", json!(account));
    }
    if let Some(secret) = &worker.pull_secret {
        set("imagePullSecrets", json!([{"name": secret}]));
    }
    if !worker.node_labels.is_empty() {
        set("nodeSelector", json!(worker.node_labels));
    }
    let tolerations = worker.tolerations();
    if !tolerations.is_empty() {
        set("tolerations", json!(tolerations));
    }
    if let Some(affinity) = affinity(worker, around.apart.as_deref()) {
        set("affinity", affinity);
    }
    Value::Object(spec)
}

fn main_container(worker: &Worker, around: &Around) -> Value {
    let mut container = around.container.clone();
    let mut set = |key: &str, value: Value| container.insert(key.to_owned(), value);
    set("name", json!(MAIN));
    set("image", json!(worker.image));
    let command = around.command.as_ref().unwrap_or(&worker.command);
    if !command.is_empty() {
        set("command", json!(command));
    }
    if !worker.args.is_empty() {
        set("args", json!(worker.args));
    }
    set("env", json!(variables(worker, around)));
    let ports: Vec<Value> = around.ports.iter().map(|(name, port)| json!({"name": name, "containerPort": port})).collect();
    if !ports.is_empty() {
        set("ports", json!(ports));
    }
    let rdma = worker.rdma.iter().cloned();
    set("resources", resources(worker.accelerators.as_ref(), worker.cpu.as_deref(), worker.memory.as_deref(), rdma.collect()));
    let mut mounts = worker.storage.mounts();
    if worker.shm.is_some() {
        mounts.push(json!({"name": "shm", "mountPath": "/dev/shm"}));
    }
    if !mounts.is_empty() {
        set("volumeMounts", json!(mounts));
    }
    let mut context = restricted();
    if worker.rdma.is_some() {
        // Queue pairs are pinned memory. It is the one thing here that the restricted level does not allow.
        context["capabilities"]["add"] = json!(["IPC_LOCK"]);
    }
    set("securityContext", context);
    Value::Object(container)
}

fn container(beside: &Beside) -> Value {
    let mut container = json!({
        "name": beside.name,
        "image": beside.image,
        "resources": resources(beside.accelerators.as_ref(), beside.cpu.as_deref(), beside.memory.as_deref(), Vec::new()),
        "securityContext": restricted(),
    });
    if !beside.command.is_empty() {
        container["command"] = json!(beside.command);
    }
    let env: Vec<Value> = beside.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    if !env.is_empty() {
        container["env"] = json!(env);
    }
    container
}

/// The recipe's variables in their order, for later ones may name earlier ones; then Secrets, then the user's.
fn variables(worker: &Worker, around: &Around) -> Vec<Value> {
    let overridden = |name: &str| worker.env.contains_key(name) || worker.secret_env.iter().any(|(secret, ..)| secret == name);
    // A user without an entry in /etc/passwd has no home and no name; caches and compilers want both.
    let person = [Variable::text("HOME", "/tmp"), Variable::text("USER", "worker")];
    let network = worker
        .interface
        .iter()
        .flat_map(|interface| ["NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"].map(|name| Variable::text(name, interface)));
    let all = person.into_iter().chain(around.env.iter().cloned()).chain(network.collect::<Vec<_>>());
    let made = all.filter(|variable| !overridden(variable.name)).map(|variable| variable.render());
    let secrets = worker
        .secret_env
        .iter()
        .map(|(name, secret, key)| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}));
    let users = worker.env.iter().map(|(name, value)| json!({"name": name, "value": value}));
    made.chain(secrets).chain(users).chain(around.late_env.iter().map(Variable::render)).collect()
}

/// Requests are written too: a namespace with a quota wants them, and defaults would hide them.
pub(super) fn resources(accelerators: Option<&Accelerators>, cpu: Option<&str>, memory: Option<&str>, more: Vec<(String, u64)>) -> Value {
    let devices = accelerators.iter().flat_map(|accelerators| accelerators.limits.iter().cloned()).chain(more);
    let mut limits: Map<String, Value> = devices.map(|(name, count)| (name, json!(count))).collect();
    let plain: Map<String, Value> =
        [("cpu", cpu), ("memory", memory)].into_iter().filter_map(|(name, amount)| Some((name.to_owned(), json!(amount?)))).collect();
    limits.extend(plain.clone());
    let mut resources = Map::new();
    if !plain.is_empty() {
        resources.insert("requests".to_owned(), Value::Object(plain));
    }
    if !limits.is_empty() {
        resources.insert("limits".to_owned(), Value::Object(limits));
    }
    Value::Object(resources)
}

/// The container half of the restricted pod security level.
pub(super) fn restricted() -> Value {
    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
}

impl Worker {
    /// Who places it; none for the cluster's default.
    pub(super) fn scheduler(&self) -> Option<&str> {
        self.scheduler.as_deref().or_else(|| self.asks().next().map(|_| SCHEDULER)).filter(|name| *name != "default-scheduler")
    }

    fn asks(&self) -> impl Iterator<Item = &Accelerators> {
        self.accelerators.iter().chain(self.beside.iter().filter_map(|beside| beside.accelerators.as_ref()))
    }

    /// Nodes with accelerators usually keep others away by a taint of the resource's name.
    fn tolerations(&self) -> Vec<Value> {
        let mut keys: Vec<&str> = Vec::new();
        for (resource, _) in self.asks().flat_map(|accelerators| &accelerators.limits) {
            let key = if resource.starts_with("gangplank.dev/") { "nvidia.com/gpu" } else { resource.as_str() };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.iter().map(|key| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"})).collect()
    }

    /// What its author may want to know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let images = std::iter::once(&self.image).chain(self.beside.iter().map(|beside| &beside.image));
        for image in images.filter(|image| text::is_floating(image)) {
            notes.push(format!("{image} is whatever was pushed last: name a version, so that all workers run the same"));
        }
        if self.cpu.is_none() || self.memory.is_none() {
            notes.push("cpu or memory is left out: a namespace with a quota on them refuses the pods, and nodes may be overbooked".into());
        }
        if self.rdma.is_some() {
            notes.push("rdma needs the capability IPC_LOCK, which the restricted pod security level does not allow".into());
        }
        notes
    }
}

fn affinity(worker: &Worker, apart: Option<&str>) -> Option<Value> {
    let mut affinity = Map::new();
    let terms: Vec<Value> = worker.accelerators.iter().flat_map(|accelerators| &accelerators.nodes).map(|labels| term(labels)).collect();
    if !terms.is_empty() {
        let node = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        affinity.insert("nodeAffinity".to_owned(), node);
    }
    if let Some(job) = apart {
        let selector = json!({"matchExpressions": [{"key": JOB_NAME, "operator": "In", "values": [job]}]});
        let rule = json!([{"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}]);
        affinity.insert("podAntiAffinity".to_owned(), json!({"requiredDuringSchedulingIgnoredDuringExecution": rule}));
    }
    (!affinity.is_empty()).then_some(Value::Object(affinity))
}

fn term(labels: &[Label]) -> Value {
    let one = |label: &Label| json!({"key": label.key, "operator": label.operator, "values": label.values});
    json!({"matchExpressions": labels.iter().map(one).collect::<Vec<_>>()})
}
