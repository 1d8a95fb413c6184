//! What is known of the cluster: live specs, what was made of them, and the pods of that. The watches fill it, and the answers to our own
//! writes: of two versions of an object the later one stays, so that nobody acts on what was before its own write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::drive::{KINDS, Resource};

/// Everything that is watched: the kinds that are driven, in their order, then what is looked at.
pub(super) fn resources() -> &'static [Resource] {
    static ALL: LazyLock<Vec<Resource>> = LazyLock::new(|| {
        let looks: BTreeSet<Resource> = KINDS.iter().flat_map(|driver| driver.looks).copied().collect();
        KINDS.iter().map(|driver| driver.resource).chain(looks).collect()
    });
    &ALL
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Of [`resources`], which.
    pub(super) resource: usize,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", resources()[self.resource].kind, self.namespace, self.name)
    }
}

/// Objects by key, by UID, and by who controls them.
#[derive(Debug)]
pub(super) struct Store {
    objects: BTreeMap<Key, Value>,
    by_uid: BTreeMap<String, Key>,
    children: BTreeMap<String, BTreeSet<Key>>,
    listed: Vec<bool>,
    /// UIDs of what went last: the answer to a deletion may come later than the word that all of it is gone.
    graves: VecDeque<String>,
}

/// Answers come within seconds, and so many objects do not go in that time.
const GRAVES_MAX: usize = 8192;

impl Store {
    pub(super) fn new() -> Self {
        let listed = vec![false; resources().len()];
        Self { objects: BTreeMap::new(), by_uid: BTreeMap::new(), children: BTreeMap::new(), listed, graves: VecDeque::new() }
    }

    /// The first kind whose list is not in.
    pub(super) fn unlisted(&self) -> Option<&'static str> {
        self.listed.iter().position(|listed| !listed).map(|at| resources()[at].plural)
    }

    /// Every live spec.
    pub(super) fn specs(&self) -> Vec<Key> {
        self.live().map(|(key, _)| key.clone()).collect()
    }

    /// How many specs of each kind are in each phase.
    pub(super) fn phases(&self) -> BTreeMap<(&'static str, String), i64> {
        let mut counts = BTreeMap::new();
        for (key, object) in self.live() {
            let phase = object["status"]["phase"].as_str().unwrap_or("New");
            *counts.entry((KINDS[key.resource].kind, phase.to_owned())).or_insert(0) += 1;
        }
        counts
    }

    /// The kinds that are driven come first.
    fn live(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter().take_while(|(key, _)| key.resource < KINDS.len())
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// The version that is known of an object.
    pub(super) fn version(&self, resource: Resource, object: &Value) -> Option<u64> {
        let at = resources().iter().position(|known| *known == resource)?;
        self.objects.get(&key_of(at, object)?).map(version)
    }

    /// What an object controls, and the pods of that.
    pub(super) fn made_of(&self, object: &Value) -> (Vec<&Value>, Vec<&Value>) {
        let owned: Vec<&Value> = self.of(object).collect();
        let pods = owned.iter().flat_map(|owned| self.of(owned)).collect();
        (owned, pods)
    }

    fn of(&self, owner: &Value) -> impl Iterator<Item = &Value> {
        let children = owner["metadata"]["uid"].as_str().and_then(|uid| self.children.get(uid));
        children.into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// An object as it is, or was. Which specs that is news for.
    pub(super) fn put(&mut self, resource: Resource, object: Value) -> Vec<Key> {
        let Some(at) = resources().iter().position(|known| *known == resource) else { return Vec::new() };
        let Some(key) = key_of(at, &object) else { return Vec::new() };
        let object = trimmed(resource, object);
        if let Some(before) = self.objects.get(&key) {
            if version(before) >= version(&object) {
                return Vec::new();
            }
            self.unlink(&key);
        }
        if let Some(uid) = object["metadata"]["uid"].as_str() {
            self.by_uid.insert(uid.to_owned(), key.clone());
        }
        if let Some(owner) = owner(&object) {
            self.children.entry(owner.to_owned()).or_default().insert(key.clone());
        }
        self.objects.insert(key.clone(), object);
        self.roots(&key)
    }

    /// The same of an object that a write of ours was answered with.
    pub(super) fn answered(&mut self, resource: Resource, object: Value) -> Vec<Key> {
        let is_gone = self.graves.iter().any(|uid| object["metadata"]["uid"] == uid.as_str());
        if is_gone { Vec::new() } else { self.put(resource, object) }
    }

    /// An object is gone; not one that was made under its name since.
    pub(super) fn gone(&mut self, resource: usize, object: &Value) -> Vec<Key> {
        let Some(key) = key_of(resource, object) else { return Vec::new() };
        if self.objects.get(&key).is_none_or(|known| known["metadata"]["uid"] != object["metadata"]["uid"]) {
            return Vec::new();
        }
        self.remove(&key)
    }

    /// A list is in: what it does not name, and is not later than it, is gone.
    pub(super) fn listed(&mut self, resource: usize, named: &BTreeSet<Key>, latest: u64) -> Vec<Key> {
        self.listed[resource] = true;
        let missing = |(key, object): &(&Key, &Value)| key.resource == resource && !named.contains(key) && version(object) <= latest;
        let missing: Vec<Key> = self.objects.iter().filter(missing).map(|(key, _)| key.clone()).collect();
        missing.iter().flat_map(|key| self.remove(key)).collect()
    }

    fn remove(&mut self, key: &Key) -> Vec<Key> {
        let news = self.roots(key);
        self.unlink(key);
        let uid = self.objects.remove(key).and_then(|object| object["metadata"]["uid"].as_str().map(str::to_owned));
        self.graves.extend(uid);
        let over = self.graves.len().saturating_sub(GRAVES_MAX);
        self.graves.drain(..over);
        news
    }

    fn unlink(&mut self, key: &Key) {
        let Some(object) = self.objects.get(key) else { return };
        if let Some(uid) = object["metadata"]["uid"].as_str() {
            self.by_uid.remove(uid);
        }
        let Some(owner) = owner(object) else { return };
        if let Some(children) = self.children.get_mut(owner) {
            children.remove(key);
            if children.is_empty() {
                self.children.remove(owner);
            }
        }
    }

    /// The spec that an object is, or comes of.
    fn roots(&self, key: &Key) -> Vec<Key> {
        let mut key = key;
        // A pod, its Job, the spec: nothing is deeper.
        for _ in 0..3 {
            if key.resource < KINDS.len() {
                return vec![key.clone()];
            }
            let above = self.objects.get(key).and_then(owner).and_then(|uid| self.by_uid.get(uid));
            let Some(above) = above else { return Vec::new() };
            key = above;
        }
        Vec::new()
    }
}

/// The key of an object, if it has a name.
pub(super) fn key_of(resource: usize, object: &Value) -> Option<Key> {
    let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
    Some(Key { resource, namespace: text("namespace").unwrap_or_default(), name: text("name")? })
}

/// As the API server counts; versions of one kind can be compared.
pub(super) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

/// With what it is, which lists leave out; without what nobody here reads.
fn trimmed(resource: Resource, mut object: Value) -> Value {
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    object["metadata"].as_object_mut().map(|metadata| metadata.remove("managedFields"));
    match resource.kind {
        "Pod" => {
            object["spec"] = json!({"nodeName": object["spec"]["nodeName"]});
            let status = object["status"].take();
            object["status"] =
                json!({"phase": status["phase"], "conditions": status["conditions"], "containerStatuses": status["containerStatuses"]});
        }
        "ConfigMap" => object["data"] = Value::Null,
        _ => {}
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kind: &str) -> Resource {
        *resources().iter().find(|resource| resource.kind == kind).unwrap()
    }

    fn object(name: &str, version: u32, owner: Option<&str>) -> Value {
        let owners: Vec<Value> = owner.iter().map(|uid| json!({"controller": true, "uid": uid})).collect();
        json!({"metadata": {"name": name, "namespace": "team", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "ownerReferences": owners}, "spec": {"version": version}})
    }

    fn filled() -> (Store, Key) {
        let mut store = Store::new();
        let news = store.put(at("TrainingJob"), object("train", 1, None));
        assert_eq!(store.put(at("Job"), object("job", 2, Some("uid-train"))), news);
        assert_eq!(store.put(at("Pod"), object("pod", 3, Some("uid-job"))), news);
        (store, news[0].clone())
    }

    #[test]
    fn news_of_a_pod_is_news_for_the_spec_that_it_comes_of() {
        let (mut store, spec) = filled();
        let (owned, pods) = store.made_of(store.get(&spec).unwrap());
        assert_eq!((owned.len(), pods.len()), (1, 1));
        let pod = resources().iter().position(|resource| resource.kind == "Pod").unwrap();
        assert_eq!(store.gone(pod, &object("pod", 4, Some("uid-job"))), std::slice::from_ref(&spec));
        assert!(store.made_of(store.get(&spec).unwrap()).1.is_empty());
        assert!(store.put(at("Pod"), object("stray", 5, Some("nobody"))).is_empty());
    }

    #[test]
    fn of_two_versions_the_later_one_stays_whoever_told_it() {
        let (mut store, spec) = filled();
        assert_eq!(store.put(at("TrainingJob"), object("train", 9, None)).len(), 1, "the answer to a write");
        assert!(store.put(at("TrainingJob"), object("train", 5, None)).is_empty(), "the watch is behind");
        assert_eq!(store.get(&spec).unwrap()["spec"]["version"], 9);
        let mut earlier = object("train", 10, None);
        earlier["metadata"]["uid"] = json!("another");
        assert!(store.gone(0, &earlier).is_empty(), "another object of that name is gone");
        assert!(store.get(&spec).is_some());
    }

    #[test]
    fn what_is_gone_stays_gone_whatever_answer_comes_late() {
        let (mut store, spec) = filled();
        let job = resources().iter().position(|resource| resource.kind == "Job").unwrap();
        store.gone(job, &object("job", 8, Some("uid-train")));
        assert!(store.answered(at("Job"), object("job", 7, Some("uid-train"))).is_empty(), "the answer to its deletion");
        assert!(store.made_of(store.get(&spec).unwrap()).0.is_empty());
        let mut another = object("job", 9, Some("uid-train"));
        another["metadata"]["uid"] = json!("uid-another");
        assert_eq!(store.answered(at("Job"), another), [spec]);
    }

    #[test]
    fn what_a_list_does_not_name_is_gone_unless_it_is_later() {
        let (mut store, spec) = filled();
        store.put(at("TrainingJob"), object("later", 20, None));
        let news = store.listed(0, &BTreeSet::new(), 10);
        assert_eq!(news, [spec]);
        assert_eq!(store.specs().len(), 1);
        assert!(store.unlisted().is_some_and(|plural| plural != "trainingjobs"));
    }
}
