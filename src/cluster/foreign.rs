//! Objects of other projects that say where nodes are: Kueue's Topology and Volcano's HyperNode. Decides what of them is
//! news: name and spec.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::api::DynamicObject;
use serde_json::Value;

use super::follow::Take;
use super::intake::{Known, unreadable};
use crate::host::Host;
use crate::wire::Kind;

/// Kueue's.
pub(super) static TOPOLOGIES: Kind = Kind {
    group: "kueue.x-k8s.io",
    versions: &["v1beta2", "v1beta1", "v1alpha1"],
    kind: "Topology",
    plural: "topologies",
    feed: "topologies.kueue.x-k8s.io",
};

/// Volcano's.
pub(super) static HYPER_NODES: Kind = Kind {
    group: "topology.volcano.sh",
    versions: &["v1alpha1"],
    kind: "HyperNode",
    plural: "hypernodes",
    feed: "hypernodes.topology.volcano.sh",
};

/// What is there of one kind, whoever takes its watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<Known<Arc<str>>>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, Known<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the watch of one of the two.
#[derive(Debug)]
pub(super) struct TakeForeign {
    pub(super) host: Arc<Host>,
    pub(super) kind: &'static Kind,
    pub(super) names: Names,
}

impl TakeForeign {
    fn tell(&self, name: &Arc<str>, spec: Value) -> Result<(), &'static str> {
        if self.kind.kind == TOPOLOGIES.kind {
            self.host.topology_applied(name, Arc::new(spec))
        } else {
            self.host.hyper_node_applied(name, Arc::new(spec))
        }
    }

    fn gone(&self, name: &Arc<str>) {
        if self.kind.kind == TOPOLOGIES.kind {
            self.host.topology_deleted(name);
        } else {
            self.host.hyper_node_deleted(name);
        }
    }
}

impl Take<DynamicObject> for TakeForeign {
    fn listing(&mut self) {
        self.names.lock().listing();
    }

    fn applied(&mut self, mut object: DynamicObject) {
        let Some(name) = object.metadata.name.as_deref().map(Arc::<str>::from) else {
            return unreadable(&self.host, self.kind.feed, "no name");
        };
        self.names.lock().applied(name.clone());
        let spec = object.data.get_mut("spec").map(Value::take).unwrap_or_default();
        // The last word that could be read stands.
        if let Err(problem) = self.tell(&name, spec) {
            unreadable(&self.host, self.kind.feed, problem);
        }
    }

    fn deleted(&mut self, object: DynamicObject) {
        let Some(name) = object.metadata.name.map(Arc::<str>::from) else { return };
        self.names.lock().deleted(&name);
        self.gone(&name);
    }

    fn listed(&mut self) {
        let gone = self.names.lock().listed();
        gone.iter().for_each(|name| self.gone(name));
    }
}
