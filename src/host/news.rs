//! News from the cluster: API objects in, inputs to the engine, the object itself into the journal. An object that
//! cannot be read is reported to the caller and changes nothing.

use std::sync::Arc;

use kube::api::DynamicObject;
use serde_json::Value;

use super::Host;
use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Engine, Input};
use crate::model::{CreationFailure, GangId, GangSpec, NodeName, PodKey, PodUid};
use crate::wire::gang::{GangObject, Suspends};
use crate::wire::journal::{Outcome, Record};
use crate::wire::{
    AcceleratorNode, BudgetObject, EventObject, NodeObject, PodObject, PriorityClassObject, QuotaObject, VolumeObject, WireError, fabric,
    provisioning,
};

/// A Node with what its agent reports, if there is one.
pub type NodeWithReport = (Arc<NodeObject>, Option<Arc<AcceleratorNode>>);

impl Host {
    /// A Pod was listed, created or changed.
    ///
    /// # Errors
    /// An object without identity.
    pub fn pod_applied(&self, object: Arc<PodObject>) -> Result<(), WireError> {
        let pod = object.to_model(&self.classes)?;
        self.told.applied(&pod, &object);
        self.ask(Input::PodApplied(pod), Record::PodApplied { object });
        Ok(())
    }

    /// A Pod is gone.
    pub fn pod_deleted(&self, uid: &PodUid) {
        self.told.deleted(uid);
        self.ask(Input::PodDeleted(uid.clone()), Record::PodDeleted { uid: uid.as_str().into() });
    }

    /// A Node or its AcceleratorNode was listed, created or changed.
    pub fn node_applied(&self, object: Arc<NodeObject>, report: Option<Arc<AcceleratorNode>>) {
        let node = object.to_model(report.as_deref(), &self.classes);
        self.ask(Input::NodeApplied(node), Record::NodeApplied { object, report });
    }

    /// A Node is gone.
    pub fn node_deleted(&self, name: &NodeName) {
        self.ask(Input::NodeDeleted(name.clone()), Record::NodeDeleted { name: name.as_str().into() });
    }

    /// A ResourceQuota was listed, created or changed.
    pub fn quota_applied(&self, object: Arc<QuotaObject>) {
        let quota = object.to_model(&self.classes);
        self.ask(Input::QuotaApplied(quota), Record::QuotaApplied { object });
    }

    /// A ResourceQuota is gone.
    pub fn quota_deleted(&self, namespace: &Arc<str>, name: &Arc<str>) {
        let input = Input::QuotaDeleted { namespace: namespace.clone(), name: name.clone() };
        self.ask(input, Record::QuotaDeleted { namespace: namespace.clone(), name: name.clone() });
    }

    /// A PersistentVolume was listed, created or changed.
    pub fn volume_applied(&self, object: Arc<VolumeObject>) {
        self.ask(Input::VolumeApplied(object.to_model()), Record::VolumeApplied { object });
    }

    /// A PersistentVolume is gone.
    pub fn volume_deleted(&self, name: &Arc<str>) {
        self.ask(Input::VolumeDeleted(name.clone()), Record::VolumeDeleted { name: name.clone() });
    }

    /// A PodDisruptionBudget was listed, created or changed.
    pub fn budget_applied(&self, object: Arc<BudgetObject>) {
        let budget = object.to_model();
        self.ask(Input::BudgetApplied(budget), Record::BudgetApplied { object });
    }

    /// A PodDisruptionBudget is gone.
    pub fn budget_deleted(&self, namespace: &Arc<str>, name: &Arc<str>) {
        let input = Input::BudgetDeleted { namespace: namespace.clone(), name: name.clone() };
        self.ask(input, Record::BudgetDeleted { namespace: namespace.clone(), name: name.clone() });
    }

    /// A PriorityClass was listed, created or changed.
    pub fn priority_class_applied(&self, object: Arc<PriorityClassObject>) {
        let class = object.to_model();
        self.ask(Input::PriorityClassApplied(class), Record::PriorityClassApplied { object });
    }

    /// A PriorityClass is gone.
    pub fn priority_class_deleted(&self, name: &Arc<str>) {
        self.ask(Input::PriorityClassDeleted(name.clone()), Record::PriorityClassDeleted { name: name.clone() });
    }

    /// What an object says of one of its gangs, the one at `place`, is new.
    pub fn gang_applied(&self, spec: GangSpec, object: &Arc<GangObject>, place: u32, suspends: Option<&Suspends>) {
        let record = Record::GangApplied { object: object.clone(), place, suspends: suspends.cloned() };
        self.ask(Input::GangApplied(spec), record);
    }

    /// The object that stood for a gang is gone, or stands for it no more.
    pub fn gang_deleted(&self, id: &GangId) {
        let (namespace, name) = (id.key.namespace.clone(), id.key.name.clone());
        let record = Record::GangDeleted { gang: id.kind.name().into(), namespace, name, uid: id.uid.clone() };
        self.ask(Input::GangDeleted(id.clone()), record);
    }

    /// An owner could not create a pod. `above` are the UIDs of its owners.
    pub fn creation_failed(&self, event: &Arc<EventObject>, above: Vec<Arc<str>>) {
        let Some(failure) = event.creation_failure() else { return };
        let input = Input::CreationFailed(CreationFailure { above: above.clone(), ..failure });
        self.ask(input, Record::CreationFailed { event: event.clone(), above });
    }

    /// A pod failed; nothing happens unless its node is to blame.
    pub fn pod_failed(&self, pod: Arc<PodObject>) {
        if let Some(failure) = pod.node_failure() {
            self.ask(Input::NodeFailed(failure), Record::NodeFailed { pod });
        }
    }

    /// In which version ProvisioningRequests are served; none if they are not.
    pub fn provisioning_served(&self, version: Option<Arc<str>>) {
        self.ask(Input::ProvisioningServed(version.clone()), Record::ProvisioningServed { version });
    }

    /// A ProvisioningRequest was listed, created or changed; nothing happens if it is somebody else's.
    pub fn provisioning_applied(&self, object: Arc<DynamicObject>) {
        if let Some(request) = provisioning::read(&object) {
            self.ask(Input::ProvisioningApplied(request), Record::ProvisioningApplied { object });
        }
    }

    /// A ProvisioningRequest is gone.
    pub fn provisioning_deleted(&self, key: &PodKey) {
        let record = Record::ProvisioningDeleted { namespace: key.namespace.clone(), name: key.name.clone() };
        self.ask(Input::ProvisioningDeleted(key.clone()), record);
    }

    /// The pods of a namespace that ended. Those that ask for no devices, or cannot be read, are left out.
    pub fn ended_listed(&self, namespace: Arc<str>, mut objects: Vec<Arc<PodObject>>) {
        let mut pods = Vec::new();
        objects.retain(|object| {
            let pod = object.to_model(&self.classes).ok().filter(|pod| !pod.request.is_empty());
            pods.extend(pod.clone());
            pod.is_some()
        });
        let input = Input::EndedListed { namespace: namespace.clone(), pods };
        self.ask(input, Record::EndedListed { namespace, pods: objects });
    }

    /// A Topology of Kueue was listed, created or changed.
    ///
    /// # Errors
    /// One without levels.
    pub fn topology_applied(&self, name: &Arc<str>, spec: Arc<Value>) -> Result<(), &'static str> {
        let label_keys = fabric::label_keys(&spec).ok_or("a Topology without levels")?;
        self.ask(Input::TopologyApplied { name: name.clone(), label_keys }, Record::TopologyApplied { name: name.clone(), spec });
        Ok(())
    }

    /// A Topology is gone.
    pub fn topology_deleted(&self, name: &Arc<str>) {
        self.ask(Input::TopologyDeleted(name.clone()), Record::TopologyDeleted { name: name.clone() });
    }

    /// A HyperNode of Volcano was listed, created or changed.
    ///
    /// # Errors
    /// One without a tier.
    pub fn hyper_node_applied(&self, name: &Arc<str>, spec: Arc<Value>) -> Result<(), &'static str> {
        let hyper_node = fabric::hyper_node_of(name, &spec).ok_or("a HyperNode without tier")?;
        self.ask(Input::HyperNodeApplied(hyper_node), Record::HyperNodeApplied { name: name.clone(), spec });
        Ok(())
    }

    /// A HyperNode is gone.
    pub fn hyper_node_deleted(&self, name: &Arc<str>) {
        self.ask(Input::HyperNodeDeleted(name.clone()), Record::HyperNodeDeleted { name: name.clone() });
    }

    /// The whole truth, read afresh. Objects that cannot be read are left out, as the watch leaves them out.
    pub fn relisted(&self, pods: Vec<Arc<PodObject>>, nodes: Vec<NodeWithReport>) {
        let classes = &self.classes;
        let input = Input::Relisted {
            pods: pods.iter().filter_map(|object| object.to_model(classes).ok()).collect(),
            nodes: nodes.iter().map(|(object, report)| object.to_model(report.as_deref(), classes)).collect(),
        };
        self.ask(input, Record::Relisted { pods, nodes });
    }

    /// Time passed.
    pub fn tick(&self) {
        self.lapse();
        self.ask(Input::Tick, Record::Tick);
    }

    /// Plans the gangs whose turn it is.
    pub fn plan(&self) {
        self.lapse();
        self.ask(Input::Plan, Record::Plan);
    }

    /// Works ahead a little while nobody waits for an answer. Returns whether there is more to do.
    pub fn prepare(&self) -> bool {
        self.ask(Input::Prepare, Record::Prepare { times: 1 });
        self.look(Engine::wants_to_prepare)
    }

    /// May this pod, as just read, be bound to this node?
    ///
    /// # Errors
    /// An object that cannot be read.
    pub(super) fn may_bind(&self, object: Arc<PodObject>, node: &NodeName) -> Result<Option<BindAnswer>, WireError> {
        let pod = object.to_model(&self.classes)?;
        if self.is_barred(&pod.uid) {
            return Ok(None);
        }
        let record = Record::Bind { object, node: node.as_str().into() };
        match self.ask(Input::Bind(BindQuery { pod, node: node.clone() }), record).answer {
            Answer::Bind(answer) => Ok(Some(answer)),
            _ => Ok(None),
        }
    }

    /// The API server has no such pod under this name. A filter call may have come after the watch's last word on it, and
    /// would hold devices for nobody. The request's word alone frees nothing: the book must know the pod by that name.
    pub(super) fn pod_gone(&self, key: &PodKey, uid: &PodUid) {
        if self.look(|engine| engine.book().holder(uid).is_some_and(|holder| holder.key == *key)) {
            self.pod_deleted(uid);
        }
    }

    /// What became of a binding that the engine ordered.
    pub(super) fn bind_ended(&self, uid: &PodUid, node: &NodeName, outcome: BindOutcome) {
        let record = Record::BindOutcome {
            uid: uid.as_str().into(),
            node: node.as_str().into(),
            outcome: match outcome {
                BindOutcome::Bound => Outcome::Bound,
                BindOutcome::Refused => Outcome::Refused,
                BindOutcome::Unknown => Outcome::Unknown,
            },
        };
        self.ask(Input::BindOutcome { uid: uid.clone(), node: node.clone(), outcome }, record);
    }
}
