//! ProvisioningRequests: those of ours become news, whatever an autoscaler writes on them. Decides what of them is kept: no
//! managed fields, and nothing of other people's.

use std::sync::{Arc, Mutex, PoisonError};

use kube::api::DynamicObject;

use super::follow::Take;
use super::intake::Known;
use crate::host::Host;
use crate::model::PodKey;
use crate::wire::provisioning;

/// What is there of ours, whoever takes the watch.
pub(super) type Requests = Arc<Mutex<Known<PodKey>>>;

/// Takes their watch.
#[derive(Debug)]
pub(super) struct TakeRequests {
    pub(super) host: Arc<Host>,
    pub(super) known: Requests,
}

impl TakeRequests {
    fn with<T>(&self, change: impl FnOnce(&mut Known<PodKey>) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Take<DynamicObject> for TakeRequests {
    fn listing(&mut self) {
        self.with(Known::listing);
    }

    fn applied(&mut self, mut object: DynamicObject) {
        let Some(request) = provisioning::read(&object) else { return };
        self.with(|known| known.applied(request.key));
        object.metadata.managed_fields = None;
        self.host.provisioning_applied(Arc::new(object));
    }

    fn deleted(&mut self, object: DynamicObject) {
        let Some(request) = provisioning::read(&object) else { return };
        self.with(|known| known.deleted(&request.key));
        self.host.provisioning_deleted(&request.key);
    }

    fn listed(&mut self) {
        let gone = self.with(Known::listed);
        gone.iter().for_each(|key| self.host.provisioning_deleted(key));
    }

    fn served(&mut self, version: Option<&str>) {
        self.host.provisioning_served(version.map(Arc::from));
    }
}
