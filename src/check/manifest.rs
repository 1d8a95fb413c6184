//! Objects of the input as rules look at them: a field with the way to it, pods wherever a kind keeps them, Jobs of
//! several workers. Kinds that nobody here knows are looked at too, as far as they hold pods.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Node;
use crate::model::Quantity;

/// An object of a file.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Which file.
    pub(super) file: usize,
    /// Its fields.
    pub(super) root: Node,
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
    /// As it is written; none is the same as none.
    pub(super) namespace: Option<String>,
}

impl Object {
    /// The objects of a document: one, or those of a List.
    pub(super) fn of(file: usize, root: Node) -> Vec<Self> {
        let text = |node: Option<&Node>| node.and_then(Node::text).unwrap_or_default().to_owned();
        let kind = text(root.get("kind"));
        if kind.ends_with("List") && root.get("items").is_some() {
            let items = root.get("items").map(Node::items).unwrap_or_default();
            return items.iter().flat_map(|item| Self::of(file, item.clone())).collect();
        }
        let version = text(root.get("apiVersion"));
        let group = version.split_once('/').map_or("", |(group, _)| group).to_owned();
        let metadata = root.get("metadata");
        let named = |key| metadata.and_then(|metadata| metadata.get(key)).and_then(Node::text).map(str::to_owned);
        let name = named("name").or_else(|| named("generateName")).unwrap_or_default();
        let namespace = named("namespace");
        vec![Self { file, root, group, kind, name, namespace }]
    }

    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    pub(super) fn at(&self) -> At<'_> {
        At { object: self, node: &self.root, path: String::new() }
    }
}

/// A field of an object, with the way to it.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) object: &'a Object,
    pub(super) node: &'a Node,
    pub(super) path: String,
}

impl<'a> At<'a> {
    /// What a key holds.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        Some(Self { object: self.object, node: self.node.get(key)?, path: self.below(key) })
    }

    /// What is found on a way of keys without dots, and of places in lists: `spec.rules[0].name`.
    pub(super) fn go(&self, way: &str) -> Option<Self> {
        way.split('.').filter(|step| !step.is_empty()).try_fold(self.clone(), |at, step| {
            let (key, places) = step.split_once('[').map_or((step, ""), |(key, places)| (key, places));
            let at = at.get(key)?;
            let place = places.trim_end_matches(']');
            if place.is_empty() { Some(at) } else { at.items().into_iter().nth(place.parse().ok()?) }
        })
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let item = |(at, node)| Self { object: self.object, node, path: format!("{}[{at}]", self.path) };
        self.node.items().iter().enumerate().map(item).collect()
    }

    /// The items of a list on a way.
    pub(super) fn all(&self, way: &str) -> Vec<Self> {
        self.go(way).map(|list| list.items()).unwrap_or_default()
    }

    /// Keys and what they hold.
    pub(super) fn entries(&self) -> Vec<(&'a Node, Self)> {
        let entry = |(key, node): &'a (Node, Node)| {
            let path = self.below(key.text().unwrap_or_default());
            (key, Self { object: self.object, node, path })
        };
        self.node.entries().iter().map(entry).collect()
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.node.text()
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    /// The text on a way.
    pub(super) fn text_at(&self, way: &str) -> Option<&'a str> {
        self.go(way)?.text()
    }

    /// The number on a way.
    pub(super) fn number_at(&self, way: &str) -> Option<u64> {
        self.go(way)?.number()
    }

    /// Keys with texts, such as labels.
    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        let texts = self.node.entries().iter();
        texts.filter_map(|(key, value)| Some((key.text()?.to_owned(), value.text()?.to_owned()))).collect()
    }

    fn below(&self, key: &str) -> String {
        let odd = key.contains(['.', '/']);
        match (self.path.is_empty(), odd) {
            (true, _) => key.to_owned(),
            (false, false) => format!("{}.{key}", self.path),
            (false, true) => format!("{}['{key}']", self.path),
        }
    }
}

/// A pod, or the template of pods.
#[derive(Clone, Debug)]
pub(super) struct Pod<'a> {
    /// Its `spec`, or what stands for it.
    pub(super) spec: At<'a>,
    /// Its labels, as far as they are written.
    pub(super) labels: BTreeMap<String, String>,
    /// Whether its fields are those of Kubernetes' PodSpec.
    pub(super) plain: bool,
}

impl<'a> Pod<'a> {
    /// The pods that an object is, or would make.
    pub(super) fn of(object: &'a Object) -> Vec<Self> {
        let mut found = Vec::new();
        if !["ConfigMap", "Secret", "CustomResourceDefinition"].contains(&object.kind.as_str()) {
            find(&object.at(), &BTreeMap::new(), 0, &mut found);
        }
        found
    }

    /// Its containers, those that only begin included.
    pub(super) fn containers(&self) -> Vec<At<'a>> {
        let lists = ["initContainers", "containers", "sidecars"];
        let mut all: Vec<At<'a>> = lists.iter().flat_map(|list| self.spec.all(list)).collect();
        if !self.plain {
            all.extend(SINGLE.iter().filter_map(|key| self.spec.get(key)).filter(|at| !at.node.entries().is_empty()));
        }
        all
    }

    /// Accelerators of the container that asks for most, in thousandths.
    pub(super) fn gpus_milli(&self) -> u64 {
        self.containers().iter().map(gpus_milli).max().unwrap_or(0)
    }

    pub(super) fn scheduler(&self) -> Option<&'a str> {
        self.spec.text_at("schedulerName")
    }

    /// The Job that it is a worker of.
    pub(super) fn job(&self) -> Option<Job<'a>> {
        let object = self.spec.object;
        if !matches!((object.group.as_str(), object.kind.as_str()), ("batch", "Job" | "CronJob") | ("jobset.x-k8s.io", "JobSet")) {
            return None;
        }
        let spec = object.at().go(self.spec.path.strip_suffix(".template.spec")?)?;
        let number = |key| spec.get(key).and_then(|at| at.number());
        let parallelism = number("parallelism").unwrap_or(1);
        let completions = number("completions").unwrap_or(parallelism);
        let indexed = spec.text_at("completionMode").map_or(object.kind == "JobSet", |mode| mode == "Indexed");
        Some(Job { spec, parallelism, completions, indexed })
    }

    /// Whether it is one of several workers that work together: all of them at once, and with accelerators or a world.
    pub(super) fn group(&self) -> Option<Job<'a>> {
        let job = self.job()?;
        let together = job.completions > 1 && job.parallelism >= job.completions;
        let world = || self.containers().iter().any(|container| variable(container, "WORLD_SIZE").is_some());
        (together && (self.gpus_milli() > 0 || world())).then_some(job)
    }
}

/// What matters of a Job.
#[derive(Clone, Debug)]
pub(super) struct Job<'a> {
    pub(super) spec: At<'a>,
    pub(super) parallelism: u64,
    pub(super) completions: u64,
    pub(super) indexed: bool,
}

fn find<'a>(at: &At<'a>, labels: &BTreeMap<String, String>, depth: usize, found: &mut Vec<Pod<'a>>) {
    if depth > DEPTH_MAX {
        return;
    }
    let own = at.go("metadata.labels").map(|labels| labels.texts()).unwrap_or_default();
    for (key, below) in at.entries() {
        let key = key.text().unwrap_or_default();
        let labels = if key == "spec" { &own } else { labels };
        let lists = below.get("containers").is_some_and(|list| !list.node.items().is_empty());
        let served = ["predictor", "transformer", "explainer"].contains(&key);
        if lists || served {
            let plain = key == "spec";
            found.push(Pod { spec: below, labels: labels.clone(), plain });
        } else {
            step(&below, labels, depth, found);
        }
    }
}

fn step<'a>(at: &At<'a>, labels: &BTreeMap<String, String>, depth: usize, found: &mut Vec<Pod<'a>>) {
    for item in at.items() {
        // A template of a workflow.
        if ["container", "script"].iter().any(|key| item.get(key).is_some_and(|at| at.get("image").is_some())) {
            let labels = item.go("metadata.labels").map(|labels| labels.texts()).unwrap_or_default();
            found.push(Pod { spec: item, labels, plain: false });
        } else {
            find(&item, labels, depth + 1, found);
        }
    }
    find(at, labels, depth + 1, found);
}

/// Accelerators of a container, in thousandths of one.
pub(super) fn gpus_milli(container: &At<'_>) -> u64 {
    let amounts = ["limits", "requests"].map(|of| container.go("resources").and_then(|resources| resources.get(of)));
    let milli = |at: &At<'_>| {
        let whole = at.node.entries().iter().filter(|(key, _)| ACCELERATORS.iter().any(|name| key.text() == Some(name)));
        whole.filter_map(|(_, amount)| Some(Quantity::parse(amount.text()?).ok()?.milli())).sum::<u64>()
    };
    amounts.iter().flatten().map(milli).max().unwrap_or(0)
}

/// An environment variable of a container.
pub(super) fn variable<'a>(container: &At<'a>, name: &str) -> Option<At<'a>> {
    container.all("env").into_iter().find(|variable| variable.text_at("name") == Some(name))
}

/// Words of its command line, with their places.
pub(super) fn words<'a>(container: &At<'a>) -> Vec<At<'a>> {
    ["command", "args"].iter().flat_map(|list| container.all(list)).collect()
}

/// Whether labels have what a selector asks for. What it asks for that cannot be told here counts as there.
pub(super) fn selects(selector: &At<'_>, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.go("matchLabels").map(|labels| labels.texts()).unwrap_or_default();
    equal.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.all("matchExpressions").iter().all(|rule| {
            let values: BTreeSet<&str> = rule.all("values").iter().filter_map(At::text).collect();
            let is = labels.get(rule.text_at("key").unwrap_or_default());
            match rule.text_at("operator") {
                Some("In") => is.is_some_and(|is| values.contains(is.as_str())),
                Some("NotIn") => is.is_none_or(|is| !values.contains(is.as_str())),
                Some("Exists") => is.is_some(),
                Some("DoesNotExist") => is.is_none(),
                _ => true,
            }
        })
}

/// Where kinds keep their only container.
const SINGLE: &[&str] = &["container", "script", "model", "tensorflow", "pytorch", "triton", "sklearn", "xgboost", "onnx", "huggingface"];
/// Resources of whole devices.
const ACCELERATORS: &[&str] = &["nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "google.com/tpu", "cloud-tpus.google.com/v3"];
/// No kind nests pods deeper.
const DEPTH_MAX: usize = 24;
