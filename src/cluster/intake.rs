//! Intake: watch events become news for the host. It decides what a fresh list makes disappear, joins each Node with
//! its AcceleratorNode, and lets a relist and the watch that runs beside it agree on which of them saw an object last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};

use super::follow::Take;
use crate::host::Host;
use crate::model::{NodeName, PodUid};
use crate::wire::{AcceleratorNode, BudgetObject, NodeObject, PodObject, PriorityClassObject, QuotaObject, VolumeObject};

/// Which objects are there, and which of them a list under way has named.
#[derive(Debug)]
pub(super) struct Known<Key> {
    there: BTreeSet<Key>,
    listing: Option<BTreeSet<Key>>,
}

impl<Key> Default for Known<Key> {
    fn default() -> Self {
        Self { there: BTreeSet::new(), listing: None }
    }
}

impl<Key: Ord + Clone> Known<Key> {
    pub(super) fn listing(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    pub(super) fn applied(&mut self, key: Key) {
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
        self.there.insert(key);
    }

    pub(super) fn is_there(&self, key: &Key) -> bool {
        self.there.contains(key)
    }

    pub(super) fn deleted(&mut self, key: &Key) {
        self.there.remove(key);
    }

    /// The list is complete: returns what it did not name.
    pub(super) fn listed(&mut self) -> Vec<Key> {
        let Some(listing) = self.listing.take() else { return Vec::new() };
        let gone = self.there.difference(&listing).cloned().collect();
        self.there = listing;
        gone
    }
}

/// What the watches share with the relist.
#[derive(Debug)]
pub(super) struct Intake {
    host: Arc<Host>,
    pods: Mutex<Pods>,
    nodes: Mutex<Nodes>,
}

#[derive(Debug, Default)]
struct Pods {
    known: Known<PodUid>,
    /// While a relist runs: what the watch delivered meanwhile; `None` is a deletion.
    meanwhile: Option<BTreeMap<PodUid, Option<Arc<PodObject>>>>,
}

#[derive(Debug, Default)]
struct Nodes {
    known: Known<NodeName>,
    reports_known: Known<NodeName>,
    objects: BTreeMap<NodeName, Arc<NodeObject>>,
    reports: BTreeMap<NodeName, Arc<AcceleratorNode>>,
    meanwhile: Option<BTreeSet<NodeName>>,
}

impl Intake {
    pub(super) fn new(host: Arc<Host>) -> Arc<Self> {
        Arc::new(Self { host, pods: Mutex::default(), nodes: Mutex::default() })
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A relist begins: from here on the watch's news is remembered beside being taken.
    pub(super) fn relist_begins(&self) {
        self.pods().meanwhile = Some(BTreeMap::new());
        self.nodes().meanwhile = Some(BTreeSet::new());
    }

    /// A relist failed.
    pub(super) fn relist_dropped(&self) {
        self.pods().meanwhile = None;
        self.nodes().meanwhile = None;
    }

    /// The relist's lists: of an object that the watch delivered meanwhile, the newer one counts.
    pub(super) fn relisted(&self, pods: Vec<PodObject>, nodes: Vec<NodeObject>) {
        // Both held until the engine has taken the whole truth, so that no news slips in between.
        let (mut pods_now, mut nodes_now) = (self.pods(), self.nodes());
        let mut whole: BTreeMap<PodUid, Arc<PodObject>> =
            pods.into_iter().filter_map(|pod| pod.uid().map(|uid| (PodUid::new(uid), Arc::new(pod)))).collect();
        for (uid, seen) in pods_now.meanwhile.take().unwrap_or_default() {
            match seen {
                Some(seen) if whole.get(&uid).is_none_or(|listed| version(listed.as_ref()) <= version(seen.as_ref())) => {
                    drop(whole.insert(uid, seen));
                }
                Some(_) => {}
                None => drop(whole.remove(&uid)),
            }
        }
        // What the list lacks stays known: the engine keeps what changed a moment ago, and the watch's next list must be able to
        // take it away.
        pods_now.known.there.extend(whole.keys().cloned());
        let meanwhile = nodes_now.meanwhile.take().unwrap_or_default();
        let listed = nodes.into_iter().filter_map(|node| node.metadata.name.clone().map(|name| (NodeName::new(name), Arc::new(node))));
        let mut listed: BTreeMap<NodeName, Arc<NodeObject>> = listed.filter(|(name, _)| !meanwhile.contains(name)).collect();
        for name in meanwhile {
            if let Some(node) = nodes_now.objects.get(&name) {
                listed.insert(name, node.clone());
            }
        }
        nodes_now.known.there = listed.keys().cloned().collect();
        nodes_now.objects = listed;
        let joined = nodes_now.objects.iter().map(|(name, node)| (node.clone(), nodes_now.reports.get(name).cloned())).collect();
        self.host.relisted(whole.into_values().collect(), joined);
    }
}

/// `metadata.resourceVersion` as a number: comparable within one resource.
fn version(object: &impl Resource) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Takes the watch of Pods.
#[derive(Debug)]
pub(super) struct TakePods(pub(super) Arc<Intake>);

impl Take<PodObject> for TakePods {
    fn listing(&mut self) {
        let mut pods = self.0.pods();
        pods.known.listing();
        // Questions tell of pods, too: one that came and went while this watch was broken must not stay.
        let told = self.0.host.look(|engine| engine.told_of().cloned().collect::<Vec<_>>());
        pods.known.there.extend(told);
    }

    fn applied(&mut self, object: PodObject) {
        let Some(uid) = object.uid().map(PodUid::new) else { return unreadable(&self.0.host, "pods", "no uid") };
        let (mut pods, object) = (self.0.pods(), Arc::new(object));
        pods.known.applied(uid.clone());
        if let Some(meanwhile) = &mut pods.meanwhile {
            meanwhile.insert(uid, Some(object.clone()));
        }
        if let Err(error) = self.0.host.pod_applied(object) {
            unreadable(&self.0.host, "pods", &error.to_string());
        }
    }

    fn deleted(&mut self, object: PodObject) {
        let Some(uid) = object.uid().map(PodUid::new) else { return };
        let mut pods = self.0.pods();
        pods.known.deleted(&uid);
        if let Some(meanwhile) = &mut pods.meanwhile {
            meanwhile.insert(uid.clone(), None);
        }
        self.0.host.pod_deleted(&uid);
    }

    fn listed(&mut self) {
        let mut pods = self.0.pods();
        for uid in pods.known.listed() {
            if let Some(meanwhile) = &mut pods.meanwhile {
                meanwhile.insert(uid.clone(), None);
            }
            self.0.host.pod_deleted(&uid);
        }
    }
}

/// Takes the watch of Pods that failed. They hold nothing, and what they say of their nodes does not change.
#[derive(Debug)]
pub(super) struct TakeFailed(pub(super) Arc<Host>);

impl Take<PodObject> for TakeFailed {
    fn listing(&mut self) {}

    fn applied(&mut self, object: PodObject) {
        self.0.pod_failed(Arc::new(object));
    }

    fn deleted(&mut self, _: PodObject) {}

    fn listed(&mut self) {}
}

/// Takes the watch of Nodes.
#[derive(Debug)]
pub(super) struct TakeNodes(pub(super) Arc<Intake>);

impl Nodes {
    fn gone(&mut self, host: &Host, name: NodeName) {
        self.objects.remove(&name);
        host.node_deleted(&name);
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.insert(name);
        }
    }

    fn report_changed(&self, host: &Host, name: &NodeName) {
        if let Some(node) = self.objects.get(name) {
            host.node_applied(node.clone(), self.reports.get(name).cloned());
        }
    }
}

impl Take<NodeObject> for TakeNodes {
    fn listing(&mut self) {
        self.0.nodes().known.listing();
    }

    fn applied(&mut self, object: NodeObject) {
        let Some(name) = object.metadata.name.as_deref().map(NodeName::from) else { return unreadable(&self.0.host, "nodes", "no name") };
        let (mut nodes, object) = (self.0.nodes(), Arc::new(object));
        nodes.known.applied(name.clone());
        let report = nodes.reports.get(&name).cloned();
        self.0.host.node_applied(object.clone(), report);
        nodes.objects.insert(name.clone(), object);
        if let Some(meanwhile) = &mut nodes.meanwhile {
            meanwhile.insert(name);
        }
    }

    fn deleted(&mut self, object: NodeObject) {
        let Some(name) = object.metadata.name.map(NodeName::new) else { return };
        let mut nodes = self.0.nodes();
        nodes.known.deleted(&name);
        nodes.gone(&self.0.host, name);
    }

    fn listed(&mut self) {
        let mut nodes = self.0.nodes();
        for name in nodes.known.listed() {
            nodes.gone(&self.0.host, name);
        }
    }
}

/// Takes the watch of AcceleratorNodes: what an agent says of the Node of the same name.
#[derive(Debug)]
pub(super) struct TakeReports(pub(super) Arc<Intake>);

impl Take<kube::core::DeserializeGuard<AcceleratorNode>> for TakeReports {
    fn listing(&mut self) {
        self.0.nodes().reports_known.listing();
    }

    fn applied(&mut self, object: kube::core::DeserializeGuard<AcceleratorNode>) {
        let name = NodeName::new(object.name_any());
        let mut nodes = self.0.nodes();
        nodes.reports_known.applied(name.clone());
        match object.0 {
            Ok(report) => drop(nodes.reports.insert(name.clone(), Arc::new(report))),
            // The last word that could be read stands: forgetting it would turn named devices into anonymous ones.
            Err(error) => unreadable(&self.0.host, "acceleratornodes", &error.error),
        }
        nodes.report_changed(&self.0.host, &name);
    }

    fn deleted(&mut self, object: kube::core::DeserializeGuard<AcceleratorNode>) {
        let name = NodeName::new(object.name_any());
        let mut nodes = self.0.nodes();
        nodes.reports_known.deleted(&name);
        nodes.reports.remove(&name);
        nodes.report_changed(&self.0.host, &name);
    }

    fn listed(&mut self) {
        let mut nodes = self.0.nodes();
        for name in nodes.reports_known.listed() {
            nodes.reports.remove(&name);
            nodes.report_changed(&self.0.host, &name);
        }
    }
}

/// Takes a watch whose objects stand alone: quotas, budgets, priority classes, volumes.
#[derive(Debug)]
pub(super) struct TakePlain<K> {
    host: Arc<Host>,
    known: Known<(Arc<str>, Arc<str>)>,
    applied: fn(&Host, Arc<K>),
    deleted: fn(&Host, &Arc<str>, &Arc<str>),
}

impl TakePlain<QuotaObject> {
    pub(super) fn quotas(host: Arc<Host>) -> Self {
        Self { host, known: Known::default(), applied: Host::quota_applied, deleted: Host::quota_deleted }
    }
}

impl TakePlain<BudgetObject> {
    pub(super) fn budgets(host: Arc<Host>) -> Self {
        Self { host, known: Known::default(), applied: Host::budget_applied, deleted: Host::budget_deleted }
    }
}

impl TakePlain<PriorityClassObject> {
    pub(super) fn priority_classes(host: Arc<Host>) -> Self {
        Self {
            host,
            known: Known::default(),
            applied: Host::priority_class_applied,
            deleted: |host, _, name| host.priority_class_deleted(name),
        }
    }
}

impl TakePlain<VolumeObject> {
    pub(super) fn volumes(host: Arc<Host>) -> Self {
        Self { host, known: Known::default(), applied: Host::volume_applied, deleted: |host, _, name| host.volume_deleted(name) }
    }
}

impl<K: Resource + Send + Sync> Take<K> for TakePlain<K> {
    fn listing(&mut self) {
        self.known.listing();
    }

    fn applied(&mut self, object: K) {
        self.known.applied(key(&object));
        (self.applied)(&self.host, Arc::new(object));
    }

    fn deleted(&mut self, object: K) {
        let key = key(&object);
        self.known.deleted(&key);
        (self.deleted)(&self.host, &key.0, &key.1);
    }

    fn listed(&mut self) {
        for (namespace, name) in self.known.listed() {
            (self.deleted)(&self.host, &namespace, &name);
        }
    }
}

fn key(object: &impl Resource) -> (Arc<str>, Arc<str>) {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default().into(), meta.name.as_deref().unwrap_or_default().into())
}

pub(super) fn unreadable(host: &Host, feed: &'static str, problem: &str) {
    host.metrics().unreadable.with_label_values(&[feed]).inc();
    tracing::warn!(feed, problem, "an object cannot be read and is left out");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_list_takes_away_what_it_does_not_name_and_nothing_else() {
        let mut known = Known::default();
        known.listing();
        known.applied(1);
        known.applied(2);
        assert!(known.listed().is_empty());
        known.applied(3);
        known.deleted(&1);
        known.listing();
        known.applied(3);
        known.applied(4);
        assert_eq!(known.listed(), [2]);
        assert_eq!(known.there, BTreeSet::from([3, 4]));
    }

    #[test]
    fn a_list_that_was_broken_off_takes_nothing_away_until_the_next_one_is_whole() {
        let mut known = Known::default();
        known.listing();
        known.applied(1);
        known.applied(2);
        known.listed();
        known.listing();
        known.applied(1);
        known.listing();
        known.applied(2);
        known.applied(1);
        assert!(known.listed().is_empty());
    }
}
