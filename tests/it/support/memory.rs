//! A cluster in memory behind the real HTTP server: the API server's rules for a Binding, its answers lost or
//! delayed on demand, and a watch that tells the host what was written.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use gangplank::api::{Api, ServeLimits, Server};
use gangplank::engine::Effect;
use gangplank::host::{BindLimits, BindWrite, Binder, Clock, Host, Journal, JournalLimits, Part, PodRead, WriteError, Writer};
use gangplank::model::{Amount, PodKey};
use gangplank::policy::Profile;
use gangplank::telemetry::Metrics;
use gangplank::wire::{NodeObject, PodObject, annotations};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What goes wrong with the next Bindings, one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Written, and the answer is lost.
    AnswerLost,
    /// Not written, and no answer.
    RequestLost,
    /// Not written: 429.
    Throttled,
    /// Not written: somebody changed the pod in between.
    Conflict,
    /// The write is on its way for longer than anybody waits, and lands then.
    LandsLate(Duration),
}

/// Pods by name, and what is to go wrong.
#[derive(Debug, Default)]
pub struct MemoryCluster {
    state: Mutex<State>,
    host: OnceLock<Arc<Host>>,
}

#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<PodKey, PodObject>,
    version: u64,
    faults: Vec<Fault>,
    writes: u64,
    /// Who has a device, by node and id: the objects' truth, kept apart from the book.
    owners: BTreeMap<(String, String), String>,
    granted_twice: Vec<String>,
}

impl MemoryCluster {
    /// Creates a pod, unbound; the watch shows it at once.
    pub fn create(&self, namespace: &str, name: &str, uid: &str, limits: &Value) -> Value {
        let pod = json!({
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": "1"},
            "spec": {"schedulerName": "gangplank", "containers": [{"name": "main", "resources": {"limits": limits}}]},
            "status": {"phase": "Pending"},
        });
        let object: PodObject = serde_json::from_value(pod.clone()).expect("a Pod");
        self.lock().pods.insert(PodKey::new(namespace, name), object.clone());
        self.show(object);
        pod
    }

    /// Removes a pod; the watch shows it at once.
    pub fn delete(&self, namespace: &str, name: &str) {
        let removed = {
            let mut state = self.lock();
            state.owners.retain(|_, owner| owner != name);
            state.pods.remove(&PodKey::new(namespace, name))
        };
        if let (Some(pod), Some(host)) = (removed, self.host.get()) {
            host.pod_deleted(&pod.metadata.uid.unwrap_or_default().as_str().into());
        }
    }

    /// What goes wrong with the next Bindings, in order.
    pub fn plan_faults(&self, faults: &[Fault]) {
        self.lock().faults = faults.iter().rev().copied().collect();
    }

    /// The pod as it is stored.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodObject> {
        self.lock().pods.get(&PodKey::new(namespace, name)).cloned()
    }

    /// All pods.
    pub fn pods(&self) -> Vec<PodObject> {
        self.lock().pods.values().cloned().collect()
    }

    /// Devices that a Binding gave away while another pod had them, at whatever moment.
    pub fn granted_twice(&self) -> Vec<String> {
        self.lock().granted_twice.clone()
    }

    /// Bindings written.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    fn show(&self, object: PodObject) {
        if let Some(host) = self.host.get() {
            host.pod_applied(Arc::new(object)).expect("a pod with an identity");
        }
    }

    fn write(&self, write: &BindWrite) -> Result<(), WriteError> {
        let object = {
            let mut state = self.lock();
            state.version += 1;
            let version = state.version;
            let pod = state.pods.get_mut(&write.order.pod.key).ok_or_else(|| WriteError::NotFound("pod".into()))?;
            let same_uid = pod.metadata.uid.as_deref() == Some(write.order.pod.uid.as_str());
            let same_version = pod.metadata.resource_version.as_deref() == Some(write.resource_version.as_str());
            if !same_uid || !same_version || pod.spec.node_name.is_some() {
                return Err(WriteError::Conflict("precondition".into()));
            }
            pod.spec.node_name = Some(write.order.grant.node.to_string());
            pod.metadata.resource_version = Some((1000 + version).to_string());
            let devices = annotations::render_devices(&write.order.grant);
            let name = write.order.pod.key.name.to_string();
            let whole =
                write.order.grant.containers.iter().flat_map(|container| &container.devices).filter(|share| share.amount == Amount::Whole);
            let taken: Vec<_> =
                whole.filter_map(|share| Some((write.order.grant.node.to_string(), share.device.as_ref()?.to_string()))).collect();
            pod.metadata.annotations.get_or_insert_default().insert(annotations::DEVICES.into(), devices);
            let object = pod.clone();
            state.writes += 1;
            for device in taken {
                if let Some(owner) = state.owners.insert(device.clone(), name.clone()) {
                    state.granted_twice.push(format!("{device:?}: {owner} and {name}"));
                }
            }
            object
        };
        self.show(object);
        Ok(())
    }
}

/// Lets the writer be shared with the test that looks at it.
#[derive(Clone, Debug)]
pub struct MemoryWriter(pub Arc<MemoryCluster>);

impl Writer for MemoryWriter {
    fn read_pod<'a>(&'a self, key: &'a PodKey) -> BoxFuture<'a, Result<Option<PodRead>, WriteError>> {
        async move {
            tokio::task::yield_now().await;
            let found = self.0.lock().pods.get(key).cloned();
            Ok(found
                .map(|pod| PodRead { resource_version: pod.metadata.resource_version.clone().unwrap_or_default(), object: Arc::new(pod) }))
        }
        .boxed()
    }

    fn bind<'a>(&'a self, write: &'a BindWrite) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            tokio::task::yield_now().await;
            let fault = self.0.lock().faults.pop().unwrap_or(Fault::None);
            match fault {
                Fault::None => self.0.write(write),
                Fault::AnswerLost => {
                    self.0.write(write)?;
                    Err(WriteError::Unclear("connection reset".into()))
                }
                Fault::RequestLost => Err(WriteError::Unclear("connection reset".into())),
                Fault::Throttled => Err(WriteError::Throttled { after: Duration::from_millis(5), message: "slow down".into() }),
                Fault::Conflict => {
                    let mut state = self.0.lock();
                    if let Some(pod) = state.pods.get_mut(&write.order.pod.key) {
                        pod.metadata.resource_version = Some(format!("{}0", write.resource_version));
                    }
                    Err(WriteError::Conflict("the object has been modified".into()))
                }
                Fault::LandsLate(after) => {
                    let (cluster, write) = (self.0.clone(), write.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        let _ = cluster.write(&write);
                    });
                    std::future::pending().await
                }
            }
        }
        .boxed()
    }

    fn carry_out<'a>(&'a self, _: &'a Effect) -> BoxFuture<'a, Result<(), WriteError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// The real server over the cluster in memory.
#[derive(Debug)]
pub struct MemoryServer {
    /// Where it answers.
    pub address: SocketAddr,
    /// The door.
    pub host: Arc<Host>,
    /// The objects.
    pub cluster: Arc<MemoryCluster>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// What a server is made with.
#[derive(Debug, Default)]
pub struct MemoryOptions {
    /// Nodes of eight GPUs.
    pub nodes: u32,
    /// Also journal to this file.
    pub journal: Option<std::path::PathBuf>,
    /// Bounds of the server.
    pub serve: ServeLimits,
    /// Bounds of binding.
    pub bind: BindLimits,
}

/// The Node object number `index`.
pub fn memory_node(index: u32) -> NodeObject {
    let amounts = json!({"nvidia.com/gpu": "8", "cpu": "192", "memory": "2Ti", "pods": "110"});
    let labels = json!({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"});
    let node = json!({
        "metadata": {"name": format!("n{index:04}"), "labels": labels},
        "status": {"allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    serde_json::from_value(node).expect("a Node")
}

impl MemoryServer {
    /// Starts it, synced.
    pub async fn start(options: MemoryOptions) -> Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let limits = JournalLimits::default();
        let journal = match &options.journal {
            Some(path) => Journal::with_file(limits, path, metrics.clone())?,
            None => Journal::new(limits, metrics.clone()),
        };
        let (host, _effects) = Host::new(Arc::new(Profile::shipped()), Clock::system(), metrics.clone(), journal);
        let cluster = Arc::new(MemoryCluster::default());
        let _ = cluster.host.set(host.clone());
        for index in 0..options.nodes {
            host.node_applied(Arc::new(memory_node(index)), None);
        }
        let binder = Binder::new(host.clone(), Arc::new(MemoryWriter(cluster.clone())), options.bind);
        let router = Api { host: host.clone(), binder }.router();
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), router, options.serve, metrics).await?;
        let address = server.address()?;
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(server.run(stopped));
        host.wait_for(Part::Lists, None);
        Ok(Self { address, host, cluster, stop, serving })
    }

    /// Ends it in order.
    pub async fn stop(self) -> Arc<Host> {
        self.stop.send_replace(true);
        let _ = self.serving.await;
        self.host
    }
}
