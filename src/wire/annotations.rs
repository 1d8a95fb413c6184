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
use crate::model::{Amount, ContainerGrant, ContainerRole, DeviceId, DeviceShare, Grant, PlanRecord, ResourceName, Time};

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
/// When the pod last saved its work, in RFC 3339.
pub const LAST_CHECKPOINT: &str = "gangplank.dev/last-checkpoint";
/// How long the pod will run: `90m`, `1h30m`, `3600` (seconds).
pub const EXPECTED_DURATION: &str = "gangplank.dev/expected-duration";

/// How the pod's devices talk to each other: `ring` (and what cannot be read), `clique`, or `none`.
pub const DEVICE_PATTERN: &str = "gangplank.dev/device-pattern";

/// What the pod was given. Only Gangplank writes it.
pub const DEVICES: &str = "gangplank.dev/devices";
/// What the pod was promised. Only Gangplank writes it.
pub const PLAN: &str = "gangplank.dev/plan";
/// The pod's rank in its gang. Only Gangplank writes it.
pub const RANK: &str = "gangplank.dev/rank";
/// That we suspended a Job or the like, to take its pods back. Only Gangplank writes it.
pub const SUSPENDED: &str = "gangplank.dev/suspended";
/// When the pod will be evicted to make room, in RFC 3339: what runs in it may save its work until then.
pub const PREEMPT_NOTICE: &str = "gangplank.dev/preempt-notice";
/// The scheduling gate that holds a pod until it is planned.
pub const GATE: &str = "gangplank.dev/gang";
/// What the annotations behind env entries begin with. Only Gangplank writes them.
pub const ENV_PREFIX: &str = "gangplank.dev/env-";
/// Changed to wake the pod in kube-scheduler. Only Gangplank writes it.
pub const TOUCHED: &str = "gangplank.dev/touched";
/// On a ProvisioningRequest of ours, and its pod templates: for which gang (convention, name, UID).
pub const PROVISIONED_FOR: &str = "gangplank.dev/provisioned-for";

/// The longest record that is read: room for 64 devices in each of a few containers.
pub const DEVICES_BYTES_MAX: usize = 64 * 1024;
const CONTAINERS_MAX: usize = 128;
const CONTAINER_DEVICES_MAX: usize = 256;
const CONTAINER_NAME_LEN_MAX: usize = 63;
const DEVICE_ID_LEN_MAX: usize = 128;
const RESOURCE_LEN_MAX: usize = 253 + 1 + 63;
const MEMORY_MIB_MAX: u64 = 1 << 24;

const NODE_NAME_LEN_MAX: usize = 253;
/// `2026-01-01T00:00:00.000000000+00:00` and some room.
const TIME_LEN_MAX: usize = 40;

const MESSAGE: &str = "annotation gangplank.dev/devices";
const PLAN_MESSAGE: &str = "annotation gangplank.dev/plan";

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

/// A plan as it is written on its pod: `{"epoch":7,"node":"n1","rank":3,"devices":{..}}`.
pub fn render_plan(plan: &PlanRecord) -> String {
    let mut text = String::from("{\"epoch\":");
    push_json(&mut text, &plan.epoch);
    text.push_str(",\"node\":");
    push_json(&mut text, plan.node().as_str());
    if let Some(rank) = plan.rank {
        text.push_str(",\"rank\":");
        push_json(&mut text, &rank);
    }
    text.push_str(",\"devices\":");
    text.push_str(&render_devices(&plan.grant));
    text.push('}');
    text
}

/// Reads a plan, within the bounds of [`parse_devices`].
///
/// # Errors
/// Anything that [`render_plan`] would not have written; unknown fields are passed over.
pub fn parse_plan(text: &str) -> Result<PlanRecord, WireError> {
    #[derive(Deserialize)]
    struct Read<'a> {
        epoch: u64,
        node: String,
        rank: Option<u32>,
        #[serde(borrow)]
        devices: &'a serde_json::value::RawValue,
    }
    if text.len() > DEVICES_BYTES_MAX {
        return Err(WireError::TooLarge { message: PLAN_MESSAGE, bytes: text.len(), bytes_max: DEVICES_BYTES_MAX });
    }
    let read: Read<'_> = serde_json::from_str(text).map_err(|error| WireError::unreadable(PLAN_MESSAGE, &error))?;
    if read.node.is_empty() || read.node.len() > NODE_NAME_LEN_MAX {
        return Err(WireError::Invalid { message: PLAN_MESSAGE, path: "node".into(), problem: "not the name of a node".into() });
    }
    let grant = Grant { node: read.node.as_str().into(), containers: parse_devices(read.devices.get())? };
    Ok(PlanRecord { epoch: read.epoch, grant, rank: read.rank })
}

/// Reads a time in RFC 3339, as Kubernetes writes it; tenants write it too. None: it is none, or before 1970.
pub fn parse_time(text: &str) -> Option<Time> {
    let time: jiff::Timestamp = (text.len() <= TIME_LEN_MAX).then(|| text.parse().ok())??;
    Some(Time::from_unix_ms(u64::try_from(time.as_millisecond()).ok()?))
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

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::model::NodeName;

    #[test]
    fn times_are_read_in_rfc_3339_and_nothing_else() {
        assert_eq!(parse_time("1970-01-01T00:01:00Z"), Some(Time::from_unix_ms(60_000)));
        assert_eq!(parse_time("1970-01-01T01:01:00.250+01:00"), Some(Time::from_unix_ms(60_250)));
        let long = format!("1970-01-01T00:01:00.{}Z", "0".repeat(40));
        for text in ["", "60", "yesterday", "1970-01-01", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z", long.as_str()] {
            assert_eq!(parse_time(text), None, "{text:?}");
        }
    }

    fn share() -> impl Strategy<Value = Amount> {
        let part = (1..=1000_u32, proptest::option::of(0..=MEMORY_MIB_MAX));
        prop_oneof![Just(Amount::Whole), part.prop_map(|(milli, memory_mib)| Amount::Share { milli, memory_mib })]
    }

    fn container() -> impl Strategy<Value = Vec<DeviceShare>> {
        let known = btree_map(("[a-z.]{1,20}/[a-z]{1,9}|\\PC{1,30}", "GPU-[0-9a-f-]{1,36}|[0-9]{1,2}|\\PC{1,20}"), share(), 1..9);
        let unknown = vec("[a-z.]{1,20}/[a-z]{1,9}", 0..3);
        (known, unknown).prop_map(|(known, unknown)| {
            let named = known.into_iter().map(|((resource, id), amount)| DeviceShare {
                resource: ResourceName::from(resource.as_str()),
                device: Some(DeviceId::from(id.as_str())),
                amount,
            });
            let unnamed = unknown.into_iter().map(|resource| DeviceShare {
                resource: ResourceName::from(resource.as_str()),
                device: None,
                amount: Amount::Whole,
            });
            named.chain(unnamed).collect()
        })
    }

    proptest! {
        #[test]
        fn a_record_reads_back_as_the_grant(containers in btree_map("[a-z]([-a-z0-9]{0,30}[a-z0-9])?", container(), 0..5), reverse in any::<bool>()) {
            let mut containers: Vec<ContainerGrant> =
                containers.into_iter().map(|(name, devices)| ContainerGrant { container: Arc::from(name), devices }).collect();
            if reverse {
                containers.reverse();
            }
            let grant = Grant { node: NodeName::from("n"), containers };
            let plan = PlanRecord { epoch: 7, grant, rank: Some(3) };
            prop_assert_eq!(&parse_plan(&render_plan(&plan)).unwrap(), &plan);
            prop_assert_eq!(parse_devices(&render_devices(&plan.grant)).unwrap(), plan.grant.containers);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}|(\\{|\\}|\\[|\\]|\"|:|,|id|milli|resource|[0-9]){0,40}") {
            let _ = parse_devices(&text);
            let _ = parse_plan(&text);
        }
    }

    #[test]
    fn the_record_looks_as_documented() {
        let share =
            |device: Option<&str>, amount| DeviceShare { resource: "nvidia.com/gpu".into(), device: device.map(DeviceId::from), amount };
        let part = Amount::Share { milli: 500, memory_mib: Some(4096) };
        let containers = vec![
            ContainerGrant { container: "main".into(), devices: vec![share(Some("GPU-6c1b"), Amount::Whole), share(Some("3"), part)] },
            ContainerGrant { container: "aside".into(), devices: vec![share(None, Amount::Whole)] },
        ];
        assert_eq!(
            render_devices(&Grant { node: "n".into(), containers }),
            concat!(
                r#"{"main":[{"id":"GPU-6c1b","resource":"nvidia.com/gpu"},{"id":"3","resource":"nvidia.com/gpu","milli":500,"memory_mib":4096}],"#,
                r#""aside":[{"resource":"nvidia.com/gpu"}]}"#
            )
        );
        assert_eq!(render_devices(&Grant { node: "n".into(), containers: vec![] }), "{}");
    }

    #[test]
    fn a_record_out_of_shape_or_bounds_is_refused() {
        let entry = r#"{"id":"0","resource":"r/r"}"#;
        let many = vec![r#"{"resource":"r/r"}"#; CONTAINER_DEVICES_MAX + 1].join(",");
        for text in [
            String::new(),
            "null".into(),
            "[]".into(),
            "{".into(),
            r#"{"c":null}"#.into(),
            r#"{"c":[]}"#.into(),
            r#"{"c":[{}]}"#.into(),
            r#"{"c":[{"id":"0"}]}"#.into(),
            r#"{"c":[{"id":"","resource":"r/r"}]}"#.into(),
            r#"{"c":[{"id":7,"resource":"r/r"}]}"#.into(),
            r#"{"c":[{"id":"0","resource":""}]}"#.into(),
            r#"{"c":[{"id":"0","resource":"r/r","milli":0}]}"#.into(),
            r#"{"c":[{"id":"0","resource":"r/r","milli":1001}]}"#.into(),
            r#"{"c":[{"id":"0","resource":"r/r","milli":-1}]}"#.into(),
            r#"{"c":[{"id":"0","resource":"r/r","milli":0.5}]}"#.into(),
            r#"{"c":[{"id":"0","resource":"r/r","memory_mib":1}]}"#.into(),
            r#"{"c":[{"id":"0","resource":"r/r","milli":1,"memory_mib":99999999999}]}"#.into(),
            format!(r#"{{"c":[{entry},{entry}]}}"#),
            format!(r#"{{"c":[{entry}],"c":[{entry}]}}"#),
            format!(r#"{{"":[{entry}]}}"#),
            format!(r#"{{"{}":[{entry}]}}"#, "c".repeat(64)),
            format!(r#"{{"c":[{{"id":"{}","resource":"r/r"}}]}}"#, "i".repeat(129)),
            format!(r#"{{"c":[{many}]}}"#),
            format!("{{{}}}", (0..=CONTAINERS_MAX).map(|i| format!(r#""c{i}":[{entry}]"#)).collect::<Vec<_>>().join(",")),
            format!("{{}}{}", " ".repeat(DEVICES_BYTES_MAX)),
            "[".repeat(60_000),
        ] {
            assert!(parse_devices(&text).is_err(), "{}", &text[..text.len().min(200)]);
        }
        assert_eq!(parse_devices(r#"{"c":[{"id":"0","resource":"r/r","new":[{}]}]}"#).unwrap().len(), 1);
    }

    #[test]
    fn env_keys_tell_the_two_lists_of_containers_apart_and_are_legal() {
        assert_eq!(env_key(ContainerRole::Main, 0, "NVIDIA_VISIBLE_DEVICES"), "gangplank.dev/env-0-NVIDIA_VISIBLE_DEVICES");
        assert_eq!(env_key(ContainerRole::Init, 2, "A"), "gangplank.dev/env-init-2-A");
        assert_eq!(env_key(ContainerRole::Sidecar, 2, "A"), "gangplank.dev/env-init-2-A");
        // The part after the slash is at most 63 characters.
        let longest = env_key(ContainerRole::Sidecar, 99, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT");
        assert!(longest.len() - "gangplank.dev/".len() <= 63, "{longest}");
    }
}
