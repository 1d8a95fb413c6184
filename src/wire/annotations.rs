//! Our annotations on pods: their keys, and the record of granted devices.
//!
//! `gangplank.dev/devices` is the only durable record of who holds which device: it rides in the Binding, and a
//! restart rebuilds the book from it. One JSON object, a container a key, in the pod's order:
//!
//! ```json
//! {"main":[{"id":"GPU-6c1b","resource":"nvidia.com/gpu"},{"id":"3","resource":"nvidia.com/gpu","milli":500,"memory_mib":4096}]}
//! ```
//!
//! `milli` is absent for a whole device; `id` is absent where the node's devices cannot be told apart. `resource` is
//! always there: a share does not name the pool it came from otherwise, and a record must not need the pod or the
//! profile to be read.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::WireError;
use crate::engine::EnvValue;
use crate::model::{Amount, ContainerGrant, ContainerRole, DeviceId, DeviceShare, Grant, ResourceName};

/// Which gang the pod is a member of.
pub const GANG: &str = "gangplank.dev/gang";
/// How many members the gang has.
pub const GANG_SIZE: &str = "gangplank.dev/gang-size";
/// How few of them can work.
pub const GANG_MIN: &str = "gangplank.dev/gang-min";
/// The domain that the gang must not leave.
pub const TOPOLOGY_REQUIRED: &str = "gangplank.dev/topology-required";
/// The domain that the gang would rather not leave.
pub const TOPOLOGY_PREFERRED: &str = "gangplank.dev/topology-preferred";
/// Which profile the tenant asks for.
pub const PROFILE: &str = "gangplank.dev/profile";
/// When the pod last saved its work.
pub const LAST_CHECKPOINT: &str = "gangplank.dev/last-checkpoint";
/// How long the pod will run.
pub const EXPECTED_DURATION: &str = "gangplank.dev/expected-duration";

/// What the pod was given. Only Gangplank writes it.
pub const DEVICES: &str = "gangplank.dev/devices";
/// What the pod was promised. Only Gangplank writes it.
pub const PLAN: &str = "gangplank.dev/plan";
/// The pod's rank in its gang. Only Gangplank writes it.
pub const RANK: &str = "gangplank.dev/rank";
/// What the annotations behind env entries begin with. Only Gangplank writes them.
pub const ENV_PREFIX: &str = "gangplank.dev/env-";
/// Changed to wake the pod in kube-scheduler. Only Gangplank writes it.
pub const TOUCHED: &str = "gangplank.dev/touched";

/// The longest record that is read: room for 64 devices in each of a few containers.
pub const DEVICES_BYTES_MAX: usize = 64 * 1024;
const CONTAINERS_MAX: usize = 128;
const CONTAINER_DEVICES_MAX: usize = 256;
const CONTAINER_NAME_LEN_MAX: usize = 63;
const DEVICE_ID_LEN_MAX: usize = 128;
const RESOURCE_LEN_MAX: usize = 253 + 1 + 63;
const MEMORY_MIB_MAX: u64 = 1 << 24;

const MESSAGE: &str = "annotation gangplank.dev/devices";

/// The key that an env entry reads: `gangplank.dev/env-<i>-<NAME>` for `spec.containers[i]`,
/// `gangplank.dev/env-init-<i>-<NAME>` for `spec.initContainers[i]`, sidecars included.
pub fn env_key(role: ContainerRole, index: u32, name: &str) -> String {
    match role {
        ContainerRole::Main => format!("{ENV_PREFIX}{index}-{name}"),
        ContainerRole::Init | ContainerRole::Sidecar => format!("{ENV_PREFIX}init-{index}-{name}"),
    }
}

/// Key and value of the annotation behind an environment value.
pub fn env_annotation(value: &EnvValue) -> (String, String) {
    (env_key(value.role, value.index, value.name), value.value.clone())
}

/// The record of a grant.
pub fn render_devices(grant: &Grant) -> String {
    let mut text = String::from("{");
    for (place, container) in grant.containers.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        let entries: Vec<Entry<'_>> = container.devices.iter().map(Entry::of).collect();
        push_json(&mut text, &*container.container);
        text.push(':');
        push_json(&mut text, &entries);
    }
    text.push('}');
    text
}

fn push_json<T: Serialize + ?Sized>(text: &mut String, value: &T) {
    // Strings, numbers and lists of structs of them: there is nothing in them that could fail.
    text.push_str(&serde_json::to_string(value).unwrap_or_default());
}

/// Reads a record, within bounds; duplicate containers and duplicate devices in one container are refused.
///
/// # Errors
/// Anything that [`render_devices`] would not have written; unknown fields are passed over.
pub fn parse_devices(text: &str) -> Result<Vec<ContainerGrant>, WireError> {
    if text.len() > DEVICES_BYTES_MAX {
        return Err(WireError::TooLarge { message: MESSAGE, bytes: text.len(), bytes_max: DEVICES_BYTES_MAX });
    }
    let record: Record = serde_json::from_str(text).map_err(|error| WireError::unreadable(MESSAGE, &error))?;
    if record.0.len() > CONTAINERS_MAX {
        return Err(invalid("*".into(), format!("{} containers, at most {CONTAINERS_MAX} are read", record.0.len())));
    }
    let mut names = BTreeSet::new();
    let mut containers = Vec::with_capacity(record.0.len());
    for (name, entries) in record.0 {
        if name.is_empty() || name.len() > CONTAINER_NAME_LEN_MAX || !names.insert(name.clone()) {
            return Err(invalid(shorten(&name), "not the name of a container, or there twice".into()));
        }
        containers.push(container(name, &entries)?);
    }
    Ok(containers)
}

fn container(name: String, entries: &[EntryOwned]) -> Result<ContainerGrant, WireError> {
    if entries.is_empty() || entries.len() > CONTAINER_DEVICES_MAX {
        return Err(invalid(name, format!("{} devices, 1..={CONTAINER_DEVICES_MAX} are read", entries.len())));
    }
    let mut known = BTreeSet::new();
    let mut devices = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        let share = entry.check().map_err(|problem| invalid(format!("{name}[{place}]"), problem))?;
        if share.device.as_ref().is_some_and(|device| !known.insert((share.resource.clone(), device.clone()))) {
            return Err(invalid(format!("{name}[{place}].id"), "there twice".into()));
        }
        devices.push(share);
    }
    Ok(ContainerGrant { container: Arc::from(name), devices })
}

fn invalid(path: String, problem: String) -> WireError {
    WireError::Invalid { message: MESSAGE, path, problem }
}

fn shorten(text: &str) -> String {
    text.chars().take(CONTAINER_NAME_LEN_MAX).collect()
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    milli: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
}

impl<'a> Entry<'a> {
    fn of(share: &'a DeviceShare) -> Self {
        let (milli, memory_mib) = match share.amount {
            Amount::Whole => (None, None),
            Amount::Share { milli, memory_mib } => (Some(milli), memory_mib),
        };
        Self { id: share.device.as_ref().map(DeviceId::as_str), resource: share.resource.as_str(), milli, memory_mib }
    }
}

#[derive(Deserialize)]
struct EntryOwned {
    id: Option<String>,
    resource: String,
    milli: Option<u32>,
    memory_mib: Option<u64>,
}

impl EntryOwned {
    fn check(&self) -> Result<DeviceShare, String> {
        if self.resource.is_empty() || self.resource.len() > RESOURCE_LEN_MAX {
            return Err("`resource` is not the name of a resource".into());
        }
        if self.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > DEVICE_ID_LEN_MAX) {
            return Err(format!("`id` is empty or longer than {DEVICE_ID_LEN_MAX} bytes"));
        }
        let amount = match (self.milli, self.memory_mib) {
            (None, None) => Amount::Whole,
            (None, Some(_)) => return Err("`memory_mib` without `milli`".into()),
            (Some(milli), _) if !(1..=1000).contains(&milli) => return Err(format!("`milli` {milli} is not within 1..=1000")),
            (Some(_), Some(memory_mib)) if memory_mib > MEMORY_MIB_MAX => {
                return Err(format!("`memory_mib` {memory_mib} is more than {MEMORY_MIB_MAX}"));
            }
            (Some(milli), memory_mib) => Amount::Share { milli, memory_mib },
        };
        Ok(DeviceShare { resource: ResourceName::from(self.resource.as_str()), device: self.id.as_deref().map(DeviceId::from), amount })
    }
}

/// The object in the order it was written: the pod's.
struct Record(Vec<(String, Vec<EntryOwned>)>);

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordVisitor;

        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of lists of devices")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut containers = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    if containers.len() > CONTAINERS_MAX {
                        return Err(de::Error::custom("too many containers"));
                    }
                    containers.push(entry);
                }
                Ok(Record(containers))
            }
        }

        deserializer.deserialize_map(RecordVisitor)
    }
}
