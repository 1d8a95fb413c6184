//! Small pods and nodes for tests, by chaining.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    ContainerRequest, ContainerRole, Device, DeviceId, Health, Link, LinkKind, Node, NodeName, NodeReport, OwnerRef, Pod, PodKey, PodPhase,
    PodUid, Pool, ResourceName, ShareRequest,
};

/// `nvidia.com/gpu`.
pub(crate) fn gpu() -> ResourceName {
    ResourceName::from("nvidia.com/gpu")
}

/// A pending pod `ns/NAME` with UID `uid-NAME` that asks for nothing.
pub(crate) fn pod(name: &str) -> Pod {
    Pod::pending(PodUid::new(format!("uid-{name}")), PodKey::new("ns", name))
}

impl Pod {
    /// One more main container that asks for so many whole GPUs.
    pub fn gpus(self, count: u32) -> Self {
        self.container(ContainerRole::Main, vec![(gpu(), count)], None)
    }

    /// One more main container that asks for a share.
    pub fn share(self, milli: u32, memory_mib: Option<u64>) -> Self {
        self.container(ContainerRole::Main, Vec::new(), Some(ShareRequest { milli, memory_mib }))
    }

    /// One more container.
    pub fn container(mut self, role: ContainerRole, whole: Vec<(ResourceName, u32)>, share: Option<ShareRequest>) -> Self {
        let index = u32::try_from(self.request.containers.len()).unwrap_or(0);
        let container = Arc::from(format!("c{index}"));
        self.request.containers.push(ContainerRequest { container, index, role, whole, share });
        self
    }

    /// Bound and running there, without a record of ours.
    pub fn on(mut self, node: &str) -> Self {
        self.node = Some(NodeName::from(node));
        self.phase = PodPhase::Running;
        self
    }

    /// Of a Job of this name.
    pub fn of_job(mut self, name: &str) -> Self {
        let key = PodKey::new(self.key.namespace.clone(), name);
        self.controller = Some(OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key, uid: name.into() });
        self
    }

    /// With this priority.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }
}

/// A ready node with so many GPUs of 80 GiB, all linked alike, and no agent.
pub(crate) fn node(name: &str, gpus: u32) -> Node {
    let all = (0..gpus).flat_map(|a| (a + 1..gpus).map(move |b| Link::new(a, b, LinkKind::NvLink(18))));
    Node {
        name: NodeName::from(name),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        unschedulable: false,
        ready: true,
        cpu_milli: 128_000,
        memory_bytes: 1 << 40,
        pods: 110,
        pools: vec![Pool {
            resource: gpu(),
            allocatable: gpus,
            product: None,
            devices: (0..gpus)
                .map(|index| Device {
                    id: DeviceId::new(index.to_string()),
                    index,
                    memory_mib: Some(81_920),
                    numa_node: None,
                    partition: None,
                    health: Health::Healthy,
                })
                .collect(),
            links: all.collect(),
            sharable: true,
        }],
        report: None,
    }
}

impl Node {
    /// Our agent serves its devices.
    pub fn served(mut self) -> Self {
        self.report = Some(NodeReport { serves_devices: true, actual: BTreeMap::new() });
        self
    }

    /// Its first pool is of this product.
    pub fn product(mut self, product: Option<&str>) -> Self {
        self.pools[0].product = product.map(Arc::from);
        self
    }

    /// These places of the first pool are unhealthy, and kubelet counts them out.
    pub fn unhealthy(mut self, places: &[usize]) -> Self {
        for &place in places {
            self.pools[0].devices[place].health = Health::Unhealthy;
        }
        self.pools[0].allocatable -= u32::try_from(places.len()).unwrap_or(0);
        self
    }
}
