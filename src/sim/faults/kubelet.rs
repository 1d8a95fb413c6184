//! Kubelets and their agents: which devices a pod really gets, and what is said of it. A kubelet without our plugin
//! chooses by itself; an agent tells afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::jobs::By;
use super::run::Run;
use super::scenario::Agent;
use crate::model::{DeviceId, Health, NodeName, NodeReport, Pod, PodPhase, PodUid};

/// One kubelet's own book.
#[derive(Debug, Default)]
pub(super) struct Kubelet {
    pub(super) agent: Option<Agent>,
    /// Whole devices, by who has them.
    pub(super) taken: BTreeMap<DeviceId, PodUid>,
    pub(super) given: BTreeMap<PodUid, Vec<(Arc<str>, Vec<DeviceId>)>>,
}

impl Run {
    /// Kubelet starts a pod: it gives devices first, and refuses a pod for which it has too few.
    pub(super) fn start_pod(&mut self, uid: &PodUid) {
        let Some(pod) = self.store.pod(uid).filter(|pod| pod.occupies() && pod.phase == PodPhase::Pending).cloned() else { return };
        let Some(name) = pod.node.clone() else { return };
        let Some(node) = self.store.node(&name).cloned() else { return };
        let asked = pod.request.whole_of(&super::scenario::gpu()) as usize;
        if asked > 0 {
            let planned = planned(&pod);
            let healthy: Vec<DeviceId> = (node.pools[0].devices.iter())
                .filter(|device| device.health == Health::Healthy)
                .map(|device| device.id.clone())
                .take(node.pools[0].allocatable as usize)
                .collect();
            let differs = self.dice.chance(400);
            let kubelet = self.kubelets.entry(name.clone()).or_default();
            let mut free: Vec<DeviceId> = healthy.into_iter().filter(|id| !kubelet.taken.contains_key(id)).collect();
            let obeys = kubelet.agent == Some(Agent::Serves) || (kubelet.agent == Some(Agent::Watches) && !differs);
            if kubelet.agent == Some(Agent::Serves) && planned.len() == asked && !planned.iter().all(|id| free.contains(id)) {
                free.clear(); // Our plugin gives what was planned, or nothing.
            } else if obeys && planned.len() == asked && planned.iter().all(|id| free.contains(id)) {
                free.retain(|id| planned.contains(id));
            } else if kubelet.agent == Some(Agent::Watches) {
                free.reverse();
            }
            if free.len() < asked {
                // UnexpectedAdmissionError.
                self.say(|| format!("kubelet {name} refuses {}: too few devices", pod.key));
                self.check_refused_by_kubelet(&name, &pod);
                self.finished(uid, PodPhase::Failed);
                return;
            }
            free.truncate(asked);
            for id in &free {
                kubelet.taken.insert(id.clone(), uid.clone());
            }
            kubelet.given.insert(uid.clone(), vec![(Arc::from("main"), free)]);
            self.report_soon(&name);
        }
        let now = self.time();
        let _ = self.store.change(uid, |pod| (pod.phase, pod.started_at) = (PodPhase::Running, now));
    }

    /// Whatever a pod had is free again.
    pub(super) fn kubelet_frees(&mut self, uid: &PodUid) {
        let freed: Vec<NodeName> = (self.kubelets.iter_mut())
            .filter_map(|(name, kubelet)| {
                kubelet.taken.retain(|_, owner| owner != uid);
                kubelet.given.remove(uid).map(|_| name.clone())
            })
            .collect();
        for name in freed {
            self.report_soon(&name);
        }
    }

    fn report_soon(&mut self, name: &NodeName) {
        if self.kubelets.get(name).is_some_and(|kubelet| kubelet.agent.is_some()) {
            let after = self.dice.between(50, 3000);
            self.enter(after, super::timeline::Event::Report { node: name.clone() });
        }
    }

    /// The agent writes what it sees.
    pub(super) fn report(&mut self, name: &NodeName) {
        let Some(kubelet) = self.kubelets.get(name) else { return };
        let Some(agent) = kubelet.agent else { return };
        let report = NodeReport { serves_devices: agent == Agent::Serves, actual: kubelet.given.clone() };
        self.store.apply_report(name, report);
    }

    /// The museum's healer evicts.
    pub(super) fn evicted_by_us(&mut self, uid: &PodUid) {
        self.fail("I25", format!("{uid} is evicted because devices of its node went away for a moment"));
        self.delete_pod(uid, By::Gangplank);
    }

    /// What a kubelet gave to a pod, where somebody would know.
    pub(super) fn given(&self, name: &NodeName, uid: &PodUid) -> Option<Vec<DeviceId>> {
        let kubelet = self.kubelets.get(name).filter(|kubelet| kubelet.agent.is_some())?;
        kubelet.given.get(uid).map(|containers| containers.iter().flat_map(|(_, ids)| ids.iter().cloned()).collect())
    }

    pub(super) fn agent(&self, name: &NodeName) -> Option<Agent> {
        self.kubelets.get(name).and_then(|kubelet| kubelet.agent)
    }
}

/// The devices of a pod's record, whole ones.
fn planned(pod: &Pod) -> Vec<DeviceId> {
    let containers = pod.recorded.iter().flat_map(|grant| &grant.containers);
    containers.flat_map(|container| container.devices.iter().filter_map(|share| share.device.clone())).collect()
}
