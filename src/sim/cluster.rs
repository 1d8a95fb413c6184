//! The API server's side of the simulation: objects with versions, a watch log, and the rules of a Binding.

use std::collections::{BTreeMap, VecDeque};

use thiserror::Error;

use super::{NodeView, SimNode, SimPod, Usage};
use crate::model::{Grant, NodeName, PlanRecord, Pod, PodKey, PodPhase, PodUid};

/// Nodes and pods, every change numbered.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    nodes: BTreeMap<NodeName, (SimNode, Usage)>,
    pods: BTreeMap<PodUid, SimPod>,
    names: BTreeMap<PodKey, PodUid>,
    created: u64,
    anti_affine: usize,
    version: u64,
    log: VecDeque<Change>,
}

/// One entry of the watch log. It names the object; readers look up what it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node was created, changed or removed.
    Node(NodeName),
    /// A pod was created or changed.
    Pod(PodUid),
    /// A pod is gone.
    PodGone(PodUid),
}

/// The log does not reach back that far: list anew, as a watch is told with 410 Gone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the watch log starts after this version")]
pub struct Expired;

/// Why a pod was not created.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CreateError {
    /// The name is taken.
    #[error("pod {0} exists already")]
    NameTaken(PodKey),
    /// The UID is taken.
    #[error("a pod with UID {0} exists already")]
    UidTaken(PodUid),
}

/// A Binding: node and devices in one write.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Which pod.
    pub key: PodKey,
    /// Precondition.
    pub uid: PodUid,
    /// Where to.
    pub grant: Grant,
}

/// Why a Binding was refused, in the API server's order of checks.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BindError {
    /// No such pod.
    #[error("pod not found")]
    NotFound,
    /// The name is another pod's by now.
    #[error("the UID in the precondition is not the pod's")]
    WrongUid,
    /// It is on its way out.
    #[error("the pod is being deleted")]
    Deleting,
    /// It has a node.
    #[error("the pod is already assigned to a node")]
    Assigned,
    /// Its scheduling gates are not empty.
    #[error("the pod has scheduling gates")]
    Gated,
    /// No such node.
    #[error("node not found")]
    NoNode,
}

impl Cluster {
    /// How many changes the log keeps; a watcher further behind lists anew.
    pub const LOG_LEN_MAX: usize = 65_536;

    /// The version of the newest change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The changes after `version`, oldest first.
    ///
    /// # Errors
    /// The log has forgotten some of them.
    pub fn changes_after(&self, version: u64) -> Result<impl Iterator<Item = &Change>, Expired> {
        let missed = usize::try_from(self.version.saturating_sub(version)).map_err(|_| Expired)?;
        let skip = self.log.len().checked_sub(missed).ok_or(Expired)?;
        Ok(self.log.iter().skip(skip))
    }

    /// Creates or replaces a node.
    pub fn apply_node(&mut self, node: SimNode) {
        let name = node.node.name.clone();
        if let Some((present, _)) = self.nodes.get_mut(&name) {
            *present = node;
        } else {
            let mut usage = Usage::default();
            for pod in self.pods.values().filter(|pod| pod.pod.occupies() && pod.pod.node.as_ref() == Some(&name)) {
                usage.add(pod);
            }
            self.nodes.insert(name.clone(), (node, usage));
        }
        self.note(Change::Node(name));
    }

    /// Creates a pod, bound already if it says so.
    ///
    /// # Errors
    /// Its name or UID is taken.
    pub fn create_pod(&mut self, mut pod: SimPod) -> Result<(), CreateError> {
        let (key, uid) = (pod.pod.key.clone(), pod.pod.uid.clone());
        if self.names.contains_key(&key) {
            return Err(CreateError::NameTaken(key));
        }
        if self.pods.contains_key(&uid) {
            return Err(CreateError::UidTaken(uid));
        }
        self.created += 1;
        pod.created = self.created;
        self.anti_affine += usize::from(!pod.anti_affinity.is_empty());
        self.occupy(&pod);
        self.names.insert(key, uid.clone());
        self.pods.insert(uid.clone(), pod);
        self.note(Change::Pod(uid));
        Ok(())
    }

    /// Removes a pod for good.
    pub fn delete_pod(&mut self, uid: &PodUid) -> Option<SimPod> {
        let pod = self.pods.remove(uid)?;
        self.names.remove(&pod.pod.key);
        self.anti_affine -= usize::from(!pod.anti_affinity.is_empty());
        self.vacate(&pod);
        self.note(Change::PodGone(uid.clone()));
        Some(pod)
    }

    /// Sets `status.phase`; a finished pod uses nothing any more.
    pub fn set_phase(&mut self, uid: &PodUid, phase: PodPhase) {
        self.change_pod(uid, |pod| pod.phase = phase);
    }

    /// Changes a pod in any way but its name and UID. Returns whether there is one.
    pub fn change_pod(&mut self, uid: &PodUid, change: impl FnOnce(&mut Pod)) -> bool {
        let Some(mut pod) = self.pods.remove(uid) else { return false };
        self.vacate(&pod);
        change(&mut pod.pod);
        self.occupy(&pod);
        self.pods.insert(uid.clone(), pod);
        self.note(Change::Pod(uid.clone()));
        true
    }

    /// Removes a node. Its pods stay until somebody removes them.
    pub fn remove_node(&mut self, name: &NodeName) -> Option<SimNode> {
        let (node, _) = self.nodes.remove(name)?;
        self.note(Change::Node(name.clone()));
        Some(node)
    }

    /// Sets or clears `status.nominatedNodeName`.
    pub fn nominate(&mut self, uid: &PodUid, node: Option<NodeName>) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.pod.nominated = node;
            self.note(Change::Pod(uid.clone()));
        }
    }

    /// Takes the scheduling gate of ours off a pod, and writes its plan on it.
    pub fn release(&mut self, uid: &PodUid, plan: Option<PlanRecord>) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.pod.gated = pod.pod.gated_by_others;
            pod.pod.planned = plan.or_else(|| pod.pod.planned.take());
            self.note(Change::Pod(uid.clone()));
        }
    }

    /// Writes a Binding. The kubelet of this cluster starts containers at once: the pod runs.
    ///
    /// # Errors
    /// As the API server refuses it; nothing was written then.
    pub fn bind(&mut self, binding: &Binding) -> Result<(), BindError> {
        let uid = self.names.get(&binding.key).ok_or(BindError::NotFound)?.clone();
        if uid != binding.uid {
            return Err(BindError::WrongUid);
        }
        let pod = self.pods.get(&uid).ok_or(BindError::NotFound)?;
        if pod.pod.deleting {
            return Err(BindError::Deleting);
        }
        if pod.pod.node.is_some() {
            return Err(BindError::Assigned);
        }
        if pod.pod.gated {
            return Err(BindError::Gated);
        }
        // The API server itself does not look; a pod bound to no node would be lost, so that this cluster does.
        if !self.nodes.contains_key(&binding.grant.node) {
            return Err(BindError::NoNode);
        }
        let Some(mut pod) = self.pods.remove(&uid) else { return Err(BindError::NotFound) };
        pod.pod.node = Some(binding.grant.node.clone());
        pod.pod.nominated = None;
        pod.pod.phase = PodPhase::Running;
        pod.pod.recorded = (!binding.grant.containers.is_empty()).then(|| binding.grant.clone());
        self.occupy(&pod);
        self.pods.insert(uid.clone(), pod);
        self.note(Change::Pod(uid));
        Ok(())
    }

    /// A node.
    pub fn node(&self, name: &NodeName) -> Option<NodeView<'_>> {
        self.nodes.get(name).map(|(node, usage)| NodeView { node, usage })
    }

    /// Every node, by name.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.values().map(|(node, usage)| NodeView { node, usage })
    }

    /// A pod by UID.
    pub fn pod(&self, uid: &PodUid) -> Option<&SimPod> {
        self.pods.get(uid)
    }

    /// A pod by name.
    pub fn pod_named(&self, key: &PodKey) -> Option<&SimPod> {
        self.pods.get(self.names.get(key)?)
    }

    /// Every pod, by UID.
    pub fn pods(&self) -> impl Iterator<Item = &SimPod> {
        self.pods.values()
    }

    /// Whether any pod states required anti-affinity: without one, most pods need not look at each other.
    pub fn has_anti_affinity(&self) -> bool {
        self.anti_affine > 0
    }

    fn occupy(&mut self, pod: &SimPod) {
        if let Some((_, usage)) = Self::place_of(&mut self.nodes, pod) {
            usage.add(pod);
        }
    }

    fn vacate(&mut self, pod: &SimPod) {
        if let Some((_, usage)) = Self::place_of(&mut self.nodes, pod) {
            usage.remove(pod);
        }
    }

    fn place_of<'a>(nodes: &'a mut BTreeMap<NodeName, (SimNode, Usage)>, pod: &SimPod) -> Option<&'a mut (SimNode, Usage)> {
        let node = pod.pod.node.as_ref().filter(|_| pod.pod.occupies())?;
        nodes.get_mut(node)
    }

    fn note(&mut self, change: Change) {
        self.version += 1;
        self.log.push_back(change);
        if self.log.len() > Self::LOG_LEN_MAX {
            self.log.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::predicate::fixture::{node, pod};
    use super::*;

    fn binding(of: &SimPod, node: &str) -> Binding {
        Binding { key: of.pod.key.clone(), uid: of.pod.uid.clone(), grant: Grant { node: node.into(), containers: vec![] } }
    }

    #[test]
    fn a_binding_is_refused_as_the_api_server_refuses_it() {
        let mut cluster = Cluster::default();
        cluster.apply_node(node("n1"));
        let mut gated = pod("gated");
        gated.pod.gated = true;
        let mut leaving = pod("leaving");
        leaving.pod.deleting = true;
        for created in [pod("a"), gated.clone(), leaving.clone()] {
            cluster.create_pod(created).unwrap();
        }
        let mut stale = binding(&pod("a"), "n1");
        stale.uid = "other".into();
        for (attempt, expected) in [
            (binding(&pod("nobody"), "n1"), Err(BindError::NotFound)),
            (stale, Err(BindError::WrongUid)),
            (binding(&gated, "n1"), Err(BindError::Gated)),
            (binding(&leaving, "n1"), Err(BindError::Deleting)),
            (binding(&pod("a"), "n2"), Err(BindError::NoNode)),
            (binding(&pod("a"), "n1"), Ok(())),
            (binding(&pod("a"), "n1"), Err(BindError::Assigned)),
        ] {
            assert_eq!(cluster.bind(&attempt), expected, "{attempt:?}");
        }
        assert_eq!(cluster.node(&"n1".into()).unwrap().usage.pods, 1);
    }

    #[test]
    fn what_a_pod_uses_is_free_again_when_it_ends_or_goes() {
        let mut cluster = Cluster::default();
        cluster.apply_node(node("n1"));
        for name in ["a", "b"] {
            let mut busy = pod(name);
            busy.pod.cpu_milli = 700;
            cluster.create_pod(busy.clone()).unwrap();
            cluster.bind(&binding(&busy, "n1")).unwrap();
        }
        let used = |cluster: &Cluster| cluster.node(&"n1".into()).unwrap().usage.cpu_milli;
        assert_eq!(used(&cluster), 1400);
        cluster.set_phase(&pod("a").pod.uid, PodPhase::Succeeded);
        assert_eq!(used(&cluster), 700);
        cluster.delete_pod(&pod("a").pod.uid);
        assert_eq!(used(&cluster), 700);
        cluster.delete_pod(&pod("b").pod.uid);
        assert_eq!(*cluster.node(&"n1".into()).unwrap().usage, Usage { whole: BTreeMap::new(), ..Usage::default() });
    }

    #[test]
    fn a_watcher_that_fell_behind_the_log_is_told() {
        let mut cluster = Cluster::default();
        for _ in 0..=Cluster::LOG_LEN_MAX {
            cluster.apply_node(node("n1"));
        }
        assert_eq!(cluster.changes_after(0).err(), Some(Expired));
        assert_eq!(cluster.changes_after(1).unwrap().count(), Cluster::LOG_LEN_MAX);
        assert_eq!(cluster.changes_after(cluster.version()).unwrap().count(), 0);
    }
}
