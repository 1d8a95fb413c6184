//! The demo's API server: the simulated cluster behind the same door as the real one. Reads and Bindings of the real
//! extender come in through [`Writer`], the watch goes back into its [`Host`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::Effect;
use crate::host::{BindWrite, Host, PodRead, WriteError, Writer};
use crate::model::{NodeName, PodKey, PodUid};
use crate::sim::{BindError, Binding, Change, Cluster, CreateError, SimPod};
use crate::wire::{PodObject, annotations};

/// Objects in memory.
#[derive(Debug)]
pub(in crate::cli) struct Memory {
    state: Mutex<State>,
    /// Whom the watch tells. Weak: the host's binder holds us.
    host: OnceLock<Weak<Host>>,
}

#[derive(Debug)]
struct State {
    cluster: Cluster,
    /// Each pod as it goes over the wire.
    pods: BTreeMap<PodUid, Value>,
    /// Up to where the watch has told.
    told_version: u64,
    touched: Vec<PodUid>,
    /// What conditions of gated pods say.
    conditions: BTreeMap<PodUid, String>,
}

impl Memory {
    pub(in crate::cli) fn new(cluster: Cluster, pods: BTreeMap<PodUid, Value>) -> Arc<Self> {
        let told_version = cluster.version();
        let mut pods = pods;
        pods.values_mut().for_each(|pod| pod["metadata"]["resourceVersion"] = "1".into());
        let state = State { cluster, pods, told_version, touched: Vec::new(), conditions: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), host: OnceLock::new() })
    }

    /// Starts the watch: first lists, then what changes.
    pub(in crate::cli) fn watch(&self, host: &Arc<Host>) -> anyhow::Result<()> {
        let _ = self.host.set(Arc::downgrade(host));
        // As they were created: of equals the first comes first.
        let mut objects: Vec<(u64, Value)> = {
            let state = self.lock();
            state.pods.iter().map(|(uid, object)| (state.cluster.pod(uid).map_or(0, |pod| pod.created), object.clone())).collect()
        };
        objects.sort_by_key(|(created, _)| *created);
        for (_, object) in objects {
            host.pod_applied(Arc::new(PodObject::deserialize(&object)?))?;
        }
        Ok(())
    }

    pub(in crate::cli) fn look<R>(&self, read: impl FnOnce(&Cluster) -> R) -> R {
        read(&self.lock().cluster)
    }

    pub(in crate::cli) fn change<R>(&self, write: impl FnOnce(&mut Cluster) -> R) -> R {
        let result = write(&mut self.lock().cluster);
        self.tell();
        result
    }

    /// A pod as it goes over the wire.
    pub(in crate::cli) fn pod(&self, uid: &PodUid) -> Option<Value> {
        self.lock().pods.get(uid).cloned()
    }

    pub(in crate::cli) fn touched(&self) -> Vec<PodUid> {
        std::mem::take(&mut self.lock().touched)
    }

    pub(in crate::cli) fn condition(&self, uid: &PodUid) -> Option<String> {
        self.lock().conditions.get(uid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of another thread leaves whole objects behind: each write below is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A user creates a pod.
    pub(in crate::cli) fn create(&self, mut object: Value, pod: SimPod) -> Result<(), CreateError> {
        let uid = pod.pod.uid.clone();
        object["metadata"]["resourceVersion"] = "1".into();
        {
            let mut state = self.lock();
            state.cluster.create_pod(pod)?;
            state.pods.insert(uid, object);
        }
        self.tell();
        Ok(())
    }

    /// A pod is gone, for good.
    pub(in crate::cli) fn delete(&self, uid: &PodUid) {
        {
            let mut state = self.lock();
            state.cluster.delete_pod(uid);
            state.pods.remove(uid);
        }
        self.tell();
    }

    /// Delivers what the watch has not told yet.
    fn tell(&self) {
        let (news, gone): (Vec<Value>, Vec<PodUid>) = {
            let mut state = self.lock();
            let changes: Vec<Change> =
                state.cluster.changes_after(state.told_version).map(|changes| changes.cloned().collect()).unwrap_or_default();
            state.told_version = state.cluster.version();
            let (mut news, mut gone) = (Vec::new(), Vec::new());
            for change in changes {
                match change {
                    Change::Pod(uid) => news.extend(state.refresh(&uid)),
                    Change::PodGone(uid) => gone.push(uid),
                    // Nothing here changes nodes.
                    Change::Node(_) => {}
                }
            }
            (news, gone)
        };
        let Some(host) = self.host.get().and_then(Weak::upgrade) else { return };
        gone.iter().for_each(|uid| host.pod_deleted(uid));
        for object in news {
            if let Ok(object) = PodObject::deserialize(&object) {
                // An object of our own making always has a name and a UID.
                let _ = host.pod_applied(Arc::new(object));
            }
        }
    }

    fn write_binding(&self, write: &BindWrite) -> Result<(), WriteError> {
        let order = &write.order;
        {
            let mut state = self.lock();
            let version = state.pods.get(&order.pod.uid).map(|pod| pod["metadata"]["resourceVersion"].clone());
            if version.is_none_or(|version| version != write.resource_version.as_str()) {
                return Err(WriteError::Conflict("the pod has changed since it was read".into()));
            }
            let binding = Binding { key: order.pod.key.clone(), uid: order.pod.uid.clone(), grant: order.grant.clone() };
            state.cluster.bind(&binding).map_err(|error| match error {
                BindError::NotFound | BindError::NoNode => WriteError::NotFound(error.to_string()),
                BindError::WrongUid | BindError::Deleting | BindError::Assigned | BindError::Gated => {
                    WriteError::Conflict(error.to_string())
                }
            })?;
            if let Some(pod) = state.pods.get_mut(&order.pod.uid) {
                let notes = &mut pod["metadata"]["annotations"];
                if !notes.is_object() {
                    *notes = json!({});
                }
                if !order.grant.containers.is_empty() {
                    notes[annotations::DEVICES] = annotations::render_devices(&order.grant).into();
                }
                for value in &order.env {
                    let (key, value) = annotations::env_annotation(value);
                    notes[key] = value.into();
                }
            }
        }
        self.tell();
        Ok(())
    }
}

impl Memory {
    pub(super) fn write_effect(&self, effect: &Effect) {
        {
            let mut state = self.lock();
            match effect {
                Effect::Touch(pod) => state.touched.push(pod.uid.clone()),
                // Any change of a pod wakes it.
                Effect::Nominate { pod, node } => {
                    state.cluster.nominate(&pod.uid, node.clone());
                    state.touched.push(pod.uid.clone());
                }
                Effect::Release { pod, plan } => {
                    if let (Some(object), Some(plan)) = (state.pods.get_mut(&pod.uid), plan) {
                        object["metadata"]["annotations"][annotations::PLAN] = annotations::render_plan(plan).into();
                    }
                    state.cluster.release(&pod.uid, plan.clone());
                    state.touched.push(pod.uid.clone());
                }
                Effect::Evict { pod, .. } => drop(state.cluster.delete_pod(&pod.uid)),
                // The table tells who waits and why; nothing here can be suspended, nor makes nodes.
                Effect::Condition { pod, reason } => drop(state.conditions.insert(pod.uid.clone(), reason.to_string())),
                Effect::Event(_)
                | Effect::NodeEvent(_)
                | Effect::ListEnded { .. }
                | Effect::Notice { .. }
                | Effect::Suspend { .. }
                | Effect::Provision(_)
                | Effect::Unprovision { .. }
                | Effect::Consume { .. } => {}
            }
        }
        self.tell();
    }
}

impl State {
    /// Writes what the cluster knows into the object, with a new version.
    fn refresh(&mut self, uid: &PodUid) -> Option<Value> {
        let pod = self.cluster.pod(uid)?;
        let object = self.pods.get_mut(uid)?;
        if let Some(node) = &pod.pod.node {
            object["spec"]["nodeName"] = node.as_str().into();
            object["status"]["phase"] = "Running".into();
        }
        object["status"]["nominatedNodeName"] = pod.pod.nominated.as_ref().map(NodeName::as_str).into();
        if !pod.pod.gated {
            object["spec"]["schedulingGates"] = json!([]);
        }
        object["metadata"]["resourceVersion"] = self.cluster.version().to_string().into();
        Some(object.clone())
    }
}

impl Writer for Memory {
    fn read_pod<'a>(&'a self, key: &'a PodKey) -> BoxFuture<'a, Result<Option<PodRead>, WriteError>> {
        let object = {
            let state = self.lock();
            state.cluster.pod_named(key).and_then(|pod| state.pods.get(&pod.pod.uid)).cloned()
        };
        let read = object.map(|object| {
            let parsed = PodObject::deserialize(&object).map_err(|error| WriteError::Unclear(error.to_string()))?;
            let resource_version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            Ok(PodRead { object: Arc::new(parsed), resource_version })
        });
        ready(read.transpose()).boxed()
    }

    fn bind<'a>(&'a self, write: &'a BindWrite) -> BoxFuture<'a, Result<(), WriteError>> {
        ready(self.write_binding(write)).boxed()
    }

    fn carry_out<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<(), WriteError>> {
        self.write_effect(effect);
        ready(Ok(())).boxed()
    }
}
