//! From manifests to a simulated cluster: what exists, what is asked for, and what the API server would not even take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Advice;
use crate::model::{Budget, Classes, PodKey, PodUid, PriorityClass, Quantity, Quota, Time};
use crate::sim::predicate::{self, Neighbours};
use crate::sim::{Cluster, HardLimits, NodeView, SimNode, Usage};
use crate::wire::admission::{self, Rules, Verdict};
use crate::wire::gang::{self, GangNews};
use crate::wire::manifest::{self, Document, Expanded, Namespaces, Place};
use crate::wire::{AcceleratorNode, BudgetObject, NodeObject, PriorityClassObject, QuotaObject};

/// A cluster, ready to run.
#[derive(Debug)]
pub(super) struct Scene {
    /// Nodes and pods.
    pub(super) cluster: Cluster,
    /// Each pod as it goes over the wire.
    pub(super) pods: BTreeMap<PodUid, Value>,
    /// Each node with what its agent reports.
    pub(super) nodes: Vec<(Value, Option<AcceleratorNode>)>,
    /// Quotas, as far as the engine counts them.
    pub(super) quotas: Vec<Quota>,
    /// The same as objects.
    pub(super) quota_objects: Vec<Value>,
    /// Disruption budgets.
    pub(super) budgets: Vec<Budget>,
    /// Priority classes.
    pub(super) classes: Vec<PriorityClass>,
    /// What objects say of gangs.
    pub(super) gangs: Vec<GangNews>,
    /// Pods that the API server would not take.
    pub(super) refused: Vec<Refused>,
    /// What a reader should know: skipped objects, assumptions.
    pub(super) notes: Vec<String>,
    /// Pods that were bound already.
    pub(super) bound_before: BTreeSet<PodUid>,
    /// Pods of the workloads, `namespace/name`, also those that the API server would not take.
    pub(super) asked: BTreeSet<String>,
    /// When the youngest pod of the cluster was created.
    newest: Time,
    limits: Vec<HardLimits>,
    namespaces: Namespaces,
    rules: Rules,
}

/// A pod that was never created.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) key: PodKey,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl Scene {
    /// Takes the cluster as it is, then creates what the workloads ask for, in their order.
    pub(super) fn build(cluster: Vec<Document>, workloads: Vec<Document>, classes: &Classes) -> anyhow::Result<Self> {
        let mut scene = Self::empty(classes);
        let reports = reports(cluster.iter().chain(&workloads))?;
        for document in cluster.iter().chain(&workloads) {
            let object = &document.object;
            scene.surroundings(object, &reports, classes).with_context(|| document.place.to_string())?;
        }
        let there = cluster.iter().filter_map(|document| manifest::gang_of_cluster(&document.object));
        let asked_for = workloads.iter().filter_map(|document| manifest::gang_of_workload(&document.object));
        scene.gangs = gang::all(there.chain(asked_for).collect());
        let mut held = BTreeMap::new();
        for Document { place, object } in cluster {
            match object["kind"].as_str() {
                Some("Pod") => scene.existing(object, classes).with_context(|| place.to_string())?,
                Some(kind) if manifest_holds_pods(kind) => *held.entry(kind.to_owned()).or_insert(0_usize) += 1,
                _ => {}
            }
        }
        for (kind, count) in held {
            scene.notes.push(format!("{count} {kind} objects among the cluster files: only the pods that stand there count"));
        }
        if scene.nodes.is_empty() {
            return Err(Advice::new("the cluster has no nodes", "pass what `kubectl get nodes -o yaml` prints with --cluster").into());
        }
        for document in workloads {
            scene.workload(&document, classes).with_context(|| document.place.to_string())?;
        }
        Ok(scene)
    }

    fn empty(classes: &Classes) -> Self {
        Self {
            cluster: Cluster::default(),
            pods: BTreeMap::new(),
            nodes: Vec::new(),
            quotas: Vec::new(),
            quota_objects: Vec::new(),
            budgets: Vec::new(),
            classes: Vec::new(),
            gangs: Vec::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            bound_before: BTreeSet::new(),
            asked: BTreeSet::new(),
            newest: Time::default(),
            limits: Vec::new(),
            namespaces: Namespaces::new(),
            rules: Rules::shipped(Arc::new(classes.clone())),
        }
    }

    fn surroundings(&mut self, object: &Value, reports: &BTreeMap<String, AcceleratorNode>, classes: &Classes) -> anyhow::Result<()> {
        match (object["apiVersion"].as_str(), object["kind"].as_str()) {
            (Some("v1"), Some("Node")) => {
                let parsed = NodeObject::deserialize(object)?;
                let name = object["metadata"]["name"].as_str().filter(|name| !name.is_empty()).context("Node without `metadata.name`")?;
                let report = reports.get(name);
                let node = parsed.to_model(report, classes);
                self.cluster.apply_node(SimNode { node, extra: manifest::node_extra(object, classes) });
                self.nodes.push((object.clone(), report.cloned()));
            }
            (Some("v1"), Some("Namespace")) => {
                let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
                let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
                self.namespaces.insert(object["metadata"]["name"].as_str().unwrap_or_default().to_owned(), labels);
            }
            (Some("v1"), Some("ResourceQuota")) => {
                let mut object = object.clone();
                object["metadata"]["namespace"] = manifest::namespace(&object).to_owned().into();
                match manifest::hard_limits(&object) {
                    Some(limits) => self.limits.push(limits),
                    None => self.notes.push(format!("ResourceQuota {} has scopes, which are not simulated", object["metadata"]["name"])),
                }
                let quota = QuotaObject::deserialize(&object)?.to_model(classes);
                if !quota.hard.is_empty() {
                    self.quotas.push(quota);
                    self.quota_objects.push(object);
                }
            }
            (Some("policy/v1"), Some("PodDisruptionBudget")) => {
                let mut object = object.clone();
                object["metadata"]["namespace"] = manifest::namespace(&object).to_owned().into();
                self.budgets.push(BudgetObject::deserialize(&object)?.to_model());
            }
            (Some("scheduling.k8s.io/v1"), Some("PriorityClass")) => {
                self.classes.push(PriorityClassObject::deserialize(object)?.to_model());
            }
            _ => {}
        }
        Ok(())
    }

    /// A pod of the cluster as it is: a holder if it is bound, in the queue if not.
    fn existing(&mut self, mut object: Value, classes: &Classes) -> anyhow::Result<()> {
        if object["metadata"]["uid"].as_str().is_none_or(str::is_empty)
            && let Expanded::Pods { pods, .. } = manifest::expand(&object, &|_| Vec::new())?
        {
            object = pods.into_iter().next().context("Pod without `metadata.name`")?;
        }
        let pod = manifest::pod(&object, classes, &self.namespaces)?;
        self.newest = self.newest.max(pod.pod.created_at);
        if pod.pod.node.is_some() {
            self.bound_before.insert(pod.pod.uid.clone());
        }
        if !pod.pod.phase.is_finished() {
            let charge = manifest::charge(&object);
            self.limits_of(Arc::clone(&pod.pod.key.namespace)).for_each(|limits| limits.take(&charge));
        }
        self.pods.insert(pod.pod.uid.clone(), object);
        Ok(self.cluster.create_pod(pod)?)
    }

    fn workload(&mut self, document: &Document, classes: &Classes) -> anyhow::Result<()> {
        let object = &document.object;
        let expanded = {
            let (cluster, namespaces) = (&self.cluster, &self.namespaces);
            manifest::expand(object, &|sample| eligible(cluster, namespaces, sample, classes))?
        };
        match expanded {
            Expanded::None => {}
            Expanded::Skipped(why) => self.notes.push(format!("skipped {}: {why}", document.place)),
            Expanded::Pods { pods, note } => {
                let name = manifest::name(object).unwrap_or_default();
                if let Some(note) = note {
                    self.notes.push(format!("{} {name}: {note}", object["kind"].as_str().unwrap_or_default()));
                }
                for pod in pods {
                    self.create(pod, &document.place, classes)?;
                }
            }
        }
        Ok(())
    }

    /// What the API server does with a new pod: priority, validation, quota.
    fn create(&mut self, mut object: Value, place: &Place, classes: &Classes) -> anyhow::Result<()> {
        let key = PodKey::new(manifest::namespace(&object), object["metadata"]["name"].as_str().unwrap_or_default());
        self.asked.insert(key.to_string());
        let mut refuse = |code, message: String, remedy: &str| {
            self.refused.push(Refused { key: key.clone(), code, message, remedy: remedy.into() });
            Ok(())
        };
        if let Err(class) = prioritize(&mut object, &self.classes) {
            let message = format!("no PriorityClass with name {class} was found");
            return refuse("no-priority-class", message, "add the PriorityClass to the cluster files");
        }
        if self.namespaces.get(&*key.namespace).is_none_or(|labels| labels.get(MANAGED).is_some_and(|value| value == "true")) {
            if let Err(message) = admit(&mut object, &key, &self.rules) {
                // Admission's texts say what to write instead.
                return refuse("invalid-request", message, "");
            }
        } else if asks_for_a_fraction(&object["spec"], classes) {
            let message = format!("namespace {} is not managed: the API server refuses a fraction of an extended resource", key.namespace);
            return refuse("invalid-request", message, "label the namespace gangplank.dev/managed=true");
        }
        let mut pod = manifest::pod(&object, classes, &self.namespaces)?;
        // Who comes now is younger than all who wait.
        pod.pod.created_at = pod.pod.created_at.max(self.newest);
        let charge = manifest::charge(&object);
        let over = self.limits_of(Arc::clone(&key.namespace)).find_map(|limits| limits.admits(&charge).err());
        if let Some(message) = over {
            self.refused.push(Refused { key, code: "quota-exceeded", message, remedy: "raise the quota, or ask for less".into() });
            return Ok(());
        }
        self.limits_of(key.namespace).for_each(|limits| limits.take(&charge));
        self.pods.insert(pod.pod.uid.clone(), object);
        if let Err(error) = self.cluster.create_pod(pod) {
            return Err(Advice::new(error.to_string(), format!("give it another name; it was read at {place}")).into());
        }
        Ok(())
    }

    fn limits_of(&mut self, namespace: Arc<str>) -> impl Iterator<Item = &mut HardLimits> {
        self.limits.iter_mut().filter(move |limits| limits.namespace == namespace)
    }
}

/// What admission does with a pod in a namespace that opted in.
fn admit(pod: &mut Value, key: &PodKey, rules: &Rules) -> Result<(), String> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "simulated",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "namespace": &*key.namespace,
            "name": &*key.name,
            "userInfo": {"username": "simulated"},
            "object": pod,
        },
    });
    match admission::mutate(&review, rules).map_err(|error| error.to_string())? {
        Verdict::Refuse(text) => Err(text),
        Verdict::Ask(question) => Err(question.refusal),
        Verdict::Allow(patch) => {
            patch.iter().for_each(|operation| apply(pod, operation));
            Ok(())
        }
    }
}

/// One JSON patch operation of those that admission uses: `add` and `remove`.
fn apply(object: &mut Value, operation: &Value) {
    let Some((parent, key)) = operation["path"].as_str().and_then(|path| path.rsplit_once('/')) else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) if operation["op"] == "remove" => drop(map.remove(&key)),
        Some(Value::Object(map)) => drop(map.insert(key, operation["value"].clone())),
        Some(Value::Array(list)) if key == "-" => list.push(operation["value"].clone()),
        _ => {}
    }
}

fn asks_for_a_fraction(spec: &Value, classes: &Classes) -> bool {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten());
    let amounts = containers.flat_map(|container| {
        let of = |side: &str| container["resources"][side].as_object().into_iter().flatten();
        of("limits").chain(of("requests"))
    });
    let mut managed = amounts.filter(|(name, _)| classes.of(name).is_some());
    managed.any(|(_, amount)| {
        let text = amount.as_str().map_or_else(|| amount.to_string(), String::from);
        Quantity::parse(&text).is_ok_and(|amount| amount.whole().is_none())
    })
}

/// Writes `spec.priority` and `spec.preemptionPolicy` as the Priority admission plugin does.
fn prioritize(pod: &mut Value, classes: &[PriorityClass]) -> Result<(), String> {
    let named = pod["spec"]["priorityClassName"].as_str().filter(|name| !name.is_empty()).map(String::from);
    let (value, never) = match &named {
        Some(name) if name == "system-node-critical" => (2_000_001_000, false),
        Some(name) if name == "system-cluster-critical" => (2_000_000_000, false),
        Some(name) => classes
            .iter()
            .find(|class| &*class.name == name.as_str())
            .map(|class| (class.value, class.never_preempts))
            .ok_or(name.clone())?,
        None => match classes.iter().find(|class| class.global_default) {
            Some(class) => (class.value, class.never_preempts),
            None => return Ok(()),
        },
    };
    pod["spec"]["priority"] = value.into();
    if never {
        pod["spec"]["preemptionPolicy"] = "Never".into();
    }
    Ok(())
}

/// The nodes on which the DaemonSet controller would make this pod: room is not looked at.
fn eligible(cluster: &Cluster, namespaces: &Namespaces, sample: &Value, classes: &Classes) -> Vec<String> {
    let Ok(pod) = manifest::pod(sample, classes, namespaces) else { return Vec::new() };
    let checks =
        predicate::ALL.iter().filter(|predicate| ["NodeUnschedulable", "TaintToleration", "NodeAffinity"].contains(&predicate.name));
    let checks: Vec<_> = checks.collect();
    let empty = Usage::default();
    let fits = |view: &NodeView<'_>| {
        let bare = NodeView { node: view.node, usage: &empty };
        checks.iter().all(|predicate| (predicate.check)(&pod, &bare, &Neighbours::default()).is_empty())
    };
    cluster.nodes().filter(fits).map(|view| view.node.node.name.to_string()).collect()
}

fn reports<'a>(documents: impl Iterator<Item = &'a Document>) -> anyhow::Result<BTreeMap<String, AcceleratorNode>> {
    let mut reports = BTreeMap::new();
    for Document { place, object } in documents.filter(|document| document.object["kind"] == "AcceleratorNode") {
        let report = AcceleratorNode::deserialize(object).with_context(|| place.to_string())?;
        if let Some(name) = report.metadata.name.clone() {
            reports.insert(name, report);
        }
    }
    Ok(reports)
}

fn manifest_holds_pods(kind: &str) -> bool {
    ["Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job", "CronJob"].contains(&kind)
}

const MANAGED: &str = "gangplank.dev/managed";
