//! The built-in controllers: names, labels, annotations and owners as they give them (kube-controller-manager 1.36).

use serde_json::{Map, Value, json};

use super::{ExpandError, Expanded, PODS_MAX, name, names, namespace};

/// A pod as it is written.
pub(super) fn bare(object: &Value) -> Result<Expanded, ExpandError> {
    let mut pod = object.clone();
    let name = required_name(object)?;
    finish(&mut pod, namespace(object), &name);
    Ok(pods(vec![pod]))
}

/// A PodTemplate is no running thing; one pod of it tells whether it would fit.
pub(super) fn template(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let pod = owner.pod(field(object, &["template"])?, &owner.name, &[], &[]);
    Ok(Expanded::Pods { pods: vec![pod], note: Some("one pod of the template".into()) })
}

pub(super) fn replica_set(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    owner.replicas(field(object, &["spec", "template"])?, count(object, &["spec", "replicas"], 1), &[])
}

pub(super) fn deployment(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let template = field(object, &["spec", "template"])?;
    let hash = names::suffix(&[&owner.namespace, &owner.name, &template.to_string()], 10);
    let set = Owner { api_version: "apps/v1".into(), kind: "ReplicaSet".into(), name: format!("{}-{hash}", owner.name), ..owner };
    set.replicas(template, count(object, &["spec", "replicas"], 1), &[("pod-template-hash", &hash)])
}

pub(super) fn stateful_set(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let template = field(object, &["spec", "template"])?;
    let start = count(object, &["spec", "ordinals", "start"], 0);
    let replicas = owner.bounded(count(object, &["spec", "replicas"], 1))?;
    let pod = |ordinal: u64| {
        let name = format!("{}-{ordinal}", owner.name);
        let labels = [("statefulset.kubernetes.io/pod-name", name.as_str()), ("apps.kubernetes.io/pod-index", &ordinal.to_string())];
        owner.pod(template, &name, &labels, &[])
    };
    Ok(pods((start..start.saturating_add(replicas)).map(pod).collect()))
}

/// One pod on each eligible node, pinned to it as the controller pins it.
pub(super) fn daemon_set(object: &Value, eligible: &dyn Fn(&Value) -> Vec<String>) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let mut sample = owner.pod(field(object, &["spec", "template"])?, &owner.name, &[], &[]);
    let tolerations = sample["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    sample["spec"]["tolerations"] = Value::Array(tolerations.into_iter().chain(daemon_tolerations()).collect());
    let nodes = eligible(&sample);
    owner.bounded(nodes.len() as u64)?;
    let pod = |node: String| {
        let mut pod = sample.clone();
        pod["metadata"]["uid"] = Value::Null;
        let name = format!("{}-{}", owner.name, names::suffix(&[&owner.namespace, &owner.name, &node], 5));
        let pin = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        let required = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        match required["nodeSelectorTerms"].as_array_mut() {
            Some(terms) => terms.iter_mut().for_each(|term| term["matchFields"] = json!([pin])),
            None => *required = json!({"nodeSelectorTerms": [{"matchFields": [pin]}]}),
        }
        finish(&mut pod, &owner.namespace, &name);
        pod
    };
    Ok(pods(nodes.into_iter().map(pod).collect()))
}

/// The pods that run at first: as many as may run at once.
pub(super) fn job(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    let spec = field(object, &["spec"])?;
    if spec["suspend"].as_bool() == Some(true) {
        return Ok(Expanded::Skipped(format!("Job {} is suspended: its controller makes no pods", owner.name)));
    }
    job_pods(&owner, spec)
}

/// One run.
pub(super) fn cron_job(object: &Value) -> Result<Expanded, ExpandError> {
    let owner = Owner::of(object)?;
    if object["spec"]["suspend"].as_bool() == Some(true) {
        return Ok(Expanded::Skipped(format!("CronJob {} is suspended: its controller makes no Jobs", owner.name)));
    }
    let job = Owner { api_version: "batch/v1".into(), kind: "Job".into(), name: format!("{}-1", owner.name), ..owner };
    Ok(match job_pods(&job, field(object, &["spec", "jobTemplate", "spec"])?)? {
        Expanded::Pods { pods, .. } => Expanded::Pods { pods, note: Some("one run".into()) },
        other => other,
    })
}

fn job_pods(owner: &Owner, spec: &Value) -> Result<Expanded, ExpandError> {
    let template = field(spec, &["template"]).map_err(|_| missing("Job", "spec.template"))?;
    let parallelism = count(spec, &["parallelism"], 1);
    let completions = spec["completions"].as_u64();
    let at_once = owner.bounded(completions.map_or(parallelism, |completions| completions.min(parallelism)))?;
    let indexed = spec["completionMode"].as_str() == Some("Indexed");
    let uid = names::uid(&[&owner.namespace, &owner.kind, &owner.name]);
    let mut labels = vec![
        ("batch.kubernetes.io/controller-uid", uid.as_str()),
        ("batch.kubernetes.io/job-name", owner.name.as_str()),
        ("controller-uid", uid.as_str()),
        ("job-name", owner.name.as_str()),
    ];
    let pod = |index: u64| {
        let text = index.to_string();
        let suffix = names::suffix(&[&owner.namespace, &owner.name, &text], 5);
        if !indexed {
            return owner.pod(template, &format!("{}-{suffix}", owner.name), &labels, &[]);
        }
        labels.truncate(4);
        let labels: Vec<_> = labels.iter().copied().chain([(COMPLETION_INDEX, text.as_str())]).collect();
        let mut pod = owner.pod(template, &format!("{}-{index}-{suffix}", owner.name), &labels, &[(COMPLETION_INDEX, &text)]);
        pod["spec"]["hostname"] = format!("{}-{index}", owner.name).into();
        pod
    };
    let pods = (0..at_once).map(pod).collect();
    let later = completions.unwrap_or(at_once).saturating_sub(at_once);
    let note = (later > 0).then(|| format!("{at_once} pods at a time; {later} more follow as these end"));
    Ok(Expanded::Pods { pods, note })
}

/// Who makes pods, as far as they tell of it.
pub(super) struct Owner {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}

impl Owner {
    pub(super) fn of(object: &Value) -> Result<Self, ExpandError> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        Ok(Self { api_version: text("apiVersion"), kind: text("kind"), name: required_name(object)?, namespace: namespace(object).into() })
    }

    /// Pods with random suffixes, as a ReplicaSet makes them.
    pub(super) fn replicas(&self, template: &Value, replicas: u64, labels: &[(&str, &str)]) -> Result<Expanded, ExpandError> {
        let pod = |at: u64| {
            let suffix = names::suffix(&[&self.namespace, &self.name, &at.to_string()], 5);
            self.pod(template, &format!("{}-{suffix}", self.name), labels, &[])
        };
        Ok(pods((0..self.bounded(replicas)?).map(pod).collect()))
    }

    pub(super) fn pod(&self, template: &Value, name: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Value {
        let mut pod = template.clone();
        if !pod.is_object() {
            pod = json!({});
        }
        extend(&mut pod["metadata"]["labels"], labels);
        extend(&mut pod["metadata"]["annotations"], annotations);
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": names::uid(&[&self.namespace, &self.kind, &self.name]),
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
        finish(&mut pod, &self.namespace, name);
        pod
    }

    pub(super) fn bounded(&self, count: u64) -> Result<u64, ExpandError> {
        if count > PODS_MAX {
            return Err(ExpandError::TooMany { kind: self.kind.clone(), name: self.name.clone(), count });
        }
        Ok(count)
    }
}

/// What every pod has.
pub(super) fn finish(pod: &mut Value, namespace: &str, name: &str) {
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    let metadata = &mut pod["metadata"];
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    if metadata["uid"].as_str().is_none_or(str::is_empty) {
        metadata["uid"] = names::uid(&[namespace, "Pod", name]).into();
    }
}

pub(super) fn pods(pods: Vec<Value>) -> Expanded {
    Expanded::Pods { pods, note: None }
}

fn extend(map: &mut Value, entries: &[(&str, &str)]) {
    if entries.is_empty() {
        return;
    }
    let mut merged: Map<String, Value> = map.as_object().cloned().unwrap_or_default();
    merged.extend(entries.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))));
    *map = merged.into();
}

fn required_name(object: &Value) -> Result<String, ExpandError> {
    name(object).ok_or_else(|| missing(object["kind"].as_str().unwrap_or("object"), "metadata.name"))
}

pub(super) fn field<'a>(object: &'a Value, path: &[&'static str]) -> Result<&'a Value, ExpandError> {
    path.iter()
        .try_fold(object, |value, key| value.get(*key).filter(|value| !value.is_null()).ok_or(*key))
        .map_err(|key| missing(object["kind"].as_str().unwrap_or("object"), key))
}

fn missing(kind: &str, path: &'static str) -> ExpandError {
    ExpandError::Missing { kind: kind.into(), path }
}

pub(super) fn count(object: &Value, path: &[&str], otherwise: u64) -> u64 {
    path.iter().fold(object, |value, key| &value[*key]).as_u64().unwrap_or(otherwise)
}

fn daemon_tolerations() -> impl Iterator<Item = Value> {
    let always = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    always.into_iter().map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}))
}

const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
