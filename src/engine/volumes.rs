//! Where volumes let their pods run. kube-scheduler checks it when it looks at one pod; a plan for many must know it before the
//! first of them is bound. What is not known here (a claim that nothing is bound to yet) kube-scheduler refuses, and the plan is
//! made anew.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use crate::model::{Pod, PodKey, Requirement, Volume};

/// Volumes that not every node reaches.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    claim_of: BTreeMap<Arc<str>, PodKey>,
    /// By claim and name: of a claim that was made anew, the volume of the one before may be seen for a moment.
    reachable: BTreeMap<PodKey, BTreeMap<Arc<str>, Vec<Vec<Requirement>>>>,
}

impl Volumes {
    /// What is known of a volume from here on; returns the claims whose pods can run elsewhere than before.
    fn set(&mut self, name: &Arc<str>, now: Option<(PodKey, Vec<Vec<Requirement>>)>) -> Vec<PodKey> {
        let before = self.claim_of.remove(name);
        let old = before.as_ref().and_then(|claim| self.reachable.get_mut(claim)?.remove(name));
        if let Some(claim) = before.as_ref().filter(|claim| self.reachable.get(claim).is_some_and(BTreeMap::is_empty)) {
            self.reachable.remove(claim);
        }
        let same = before.as_ref() == now.as_ref().map(|(claim, _)| claim) && old.as_ref() == now.as_ref().map(|(_, terms)| terms);
        let after = now.map(|(claim, terms)| {
            self.claim_of.insert(name.clone(), claim.clone());
            self.reachable.entry(claim.clone()).or_default().insert(name.clone(), terms);
            claim
        });
        if same { Vec::new() } else { before.into_iter().chain(after).collect() }
    }

    fn of(&self, namespace: &Arc<str>, claim: &Arc<str>) -> Option<&Vec<Vec<Requirement>>> {
        let volumes = self.reachable.get(&PodKey { namespace: namespace.clone(), name: claim.clone() })?;
        volumes.values().next().filter(|_| volumes.len() == 1)
    }
}

impl Engine {
    /// A PersistentVolume was listed, created or changed.
    pub(super) fn volume_applied(&mut self, volume: Volume) {
        let changed = self.volumes.set(&volume.name, volume.claim.zip(volume.reachable));
        self.look_again_at_pods_of(&changed);
    }

    /// A PersistentVolume is gone.
    pub(super) fn volume_deleted(&mut self, name: &Arc<str>) {
        let changed = self.volumes.set(name, None);
        self.look_again_at_pods_of(&changed);
    }

    /// What was refused may have been refused for what is no longer so.
    fn look_again_at_pods_of(&mut self, claims: &[PodKey]) {
        let names = |pod: &Pod| claims.iter().any(|claim| claim.namespace == pod.key.namespace && pod.claims.contains(&claim.name));
        if !claims.is_empty() && self.refused_in_vain().any(names) {
            self.lane.gained();
        }
    }

    /// The pod, with what its volumes say of nodes among its constraints.
    pub(super) fn with_volumes<'a>(&self, pod: &'a Pod) -> Cow<'a, Pod> {
        let known: Vec<_> = pod.claims.iter().filter_map(|claim| self.volumes.of(&pod.key.namespace, claim)).cloned().collect();
        if known.is_empty() {
            return Cow::Borrowed(pod);
        }
        let mut pod = pod.clone();
        pod.constraints.volumes = known;
        Cow::Owned(pod)
    }
}
