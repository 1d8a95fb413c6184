//! The kind `AcceleratorNode`: what the agent of a node says about its devices, links and real allocations.
//!
//! Cluster-scoped and named as its Node. All of it stands in `spec`: the agent is its only writer, and there is
//! nothing that a controller would reconcile. The bounds in the schema are checked by the API server; readers cut
//! what is beyond them all the same. `deploy/crd/acceleratornodes.yaml` is made from the types below.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::LinkKind;

/// What a node's agent reports.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "gangplank.dev",
    version = "v1alpha1",
    kind = "AcceleratorNode",
    plural = "acceleratornodes",
    shortname = "accnode",
    derive = "PartialEq",
    derive = "Default",
    category = "gangplank",
    doc = "The accelerators of one Node as its gangplank-agent sees them. Named as the Node.",
    printcolumn = r#"{"name":"Product","type":"string","jsonPath":".spec.devices[0].product","description":"Product of the node's first device"}"#,
    printcolumn = r#"{"name":"Served","type":"boolean","jsonPath":".spec.servedByAgent","description":"Whether the agent serves the devices to kubelet"}"#,
    printcolumn = r#"{"name":"Driver","type":"string","jsonPath":".spec.driverVersion"}"#,
    printcolumn = r#"{"name":"CUDA","type":"string","jsonPath":".spec.cudaVersion","priority":1}"#,
    printcolumn = r#"{"name":"Fabric","type":"string","jsonPath":".spec.fabric.clusterUUID","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AcceleratorNodeSpec {
    /// Whether the agent serves the devices to kubelet, so that the planned device is the device a container gets.
    /// Shares and whole devices may be on one node only where it does.
    #[serde(default)]
    pub served_by_agent: bool,
    /// Version of the vendor's driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub driver_version: Option<String>,
    /// The newest CUDA version that the driver takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cuda_version: Option<String>,
    /// The NVLink fabric across nodes that the devices are part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<Fabric>,
    /// Every device of the node, healthy or not.
    #[serde(default)]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"], "x-kubernetes-validations" = [
            {"rule": "self.all(d, self.exists_one(e, e.index == d.index))", "message": "two devices bear the same index"}
        ])
    )]
    pub devices: Vec<DeviceReport>,
    /// Links between pairs of them, each pair once. A missing pair is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2016), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["a", "b"]))]
    pub links: Vec<LinkReport>,
    /// What the containers on the node really got, from kubelet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["podUID", "container"]))]
    pub allocations: Vec<Allocation>,
}

/// An NVLink fabric across nodes: the two halves of the label `nvidia.com/gpu.clique`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Fabric {
    /// The NVLink domain (a rack).
    #[serde(rename = "clusterUUID")]
    #[schemars(length(min = 1, max = 64))]
    pub cluster_uuid: String,
    /// The partition in it: nodes that have both alike reach each other over NVLink.
    #[serde(rename = "cliqueID")]
    #[schemars(length(min = 1, max = 64))]
    pub clique_id: String,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// Unique on the node: the UUID where the vendor gives one.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// The vendor's index, as in `nvidia-smi -L`; unique on the node, and what links refer to.
    #[schemars(range(min = 0, max = 63))]
    pub index: u32,
    /// The extended resource that it counts for.
    #[schemars(length(min = 3, max = 317), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub resource: String,
    /// The product, as the driver names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub product: Option<String>,
    /// Device memory in MiB.
    #[serde(rename = "memoryMiB", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16_777_216))]
    pub memory_mib: Option<u64>,
    /// The NUMA node that it hangs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1023))]
    pub numa_node: Option<u32>,
    /// What it is a partition of, for a MIG instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionReport>,
    /// `0000:1b:00.0`
    #[serde(rename = "pciBusID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub pci_bus_id: Option<String>,
    /// `pci0000:15`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub pcie_root: Option<String>,
    /// Only healthy devices are granted.
    #[serde(default)]
    pub health: HealthReport,
    /// Why it is unhealthy, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub health_reason: Option<String>,
    /// What is wrong with it though it may be granted, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub warning: Option<String>,
    /// Whether only one process may make a context on it: NVIDIA's mode EXCLUSIVE_PROCESS, in which that is the MPS server.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exclusive_process: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A partition's place on the device that it is cut from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionReport {
    /// UUID of the whole device, which need not be in the list: no pod may ask for a device that is cut up.
    #[schemars(length(min = 1, max = 128))]
    pub parent: String,
    /// `1g.10gb`, as `nvidia-smi mig -lgi` names it.
    #[schemars(length(min = 1, max = 32))]
    pub profile: String,
    /// The first memory slice that it occupies, the first number of `nvidia-smi mig -lgi`'s placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 15))]
    pub start: Option<u8>,
}

/// Whether new grants may use a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum HealthReport {
    /// It may be granted.
    #[default]
    Healthy,
    /// It keeps its holder and gets no new one. A word of a newer agent counts as this.
    #[serde(other)]
    Unhealthy,
}

/// A link between two devices, by their indices: 2,016 links of named ends would be 200 kB.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.a < self.b", "message": "a link is written once, lower index first"},
    {"rule": "self.type == 'NV' || !has(self.count)", "message": "only NV links are counted"}
]))]
pub struct LinkReport {
    /// The index of one end.
    #[schemars(range(min = 0, max = 63))]
    pub a: u32,
    /// The index of the other end, the higher one.
    #[schemars(range(min = 0, max = 63))]
    pub b: u32,
    /// What runs between them, in the legend of `nvidia-smi topo -m`.
    #[serde(rename = "type")]
    pub kind: LinkType,
    /// How many NVLinks are bonded; only with NV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub count: Option<u8>,
    /// The generation of the NVLinks: 4 on Hopper; only with NV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 15))]
    pub generation: Option<u8>,
    /// Megabytes a second each way, all links of the pair together, where NVML tells or it was measured. Without it the
    /// type, the count and the product say.
    #[serde(rename = "megabytesPerSecond", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub mb_per_s: Option<u32>,
}

/// The legend of `nvidia-smi topo -m`, the number of NV# kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum LinkType {
    /// Bonded NVLinks, or another vendor's direct links of the same role.
    #[serde(rename = "NV")]
    NvLink,
    /// Through one PCIe switch.
    Pix,
    /// Through several PCIe switches.
    Pxb,
    /// Through one PCIe host bridge.
    Phb,
    /// Across PCIe host bridges within a NUMA node.
    Node,
    /// Across the interconnect between NUMA nodes.
    Sys,
    /// A word of a newer agent: the pair is unknown to us.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl LinkReport {
    /// What it is to placement; absent if unknown.
    pub fn kind(&self) -> Option<LinkKind> {
        Some(match self.kind {
            LinkType::NvLink => LinkKind::NvLink(self.count.unwrap_or(1)),
            LinkType::Pix => LinkKind::Pix,
            LinkType::Pxb => LinkKind::Pxb,
            LinkType::Phb => LinkKind::Phb,
            LinkType::Node => LinkKind::Node,
            LinkType::Sys => LinkKind::Sys,
            LinkType::Unknown => return None,
        })
    }
}

/// The devices that one container really got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// `metadata.uid` of its pod.
    #[serde(rename = "podUID")]
    #[schemars(length(min = 1, max = 64))]
    pub pod_uid: String,
    /// The container's name.
    #[schemars(length(min = 1, max = 63))]
    pub container: String,
    /// The ids of its devices.
    #[serde(rename = "deviceIDs")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub device_ids: Vec<String>,
}

/// The definition that a cluster needs, as `deploy/crd/acceleratornodes.yaml` has it.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = AcceleratorNode::crd();
    let labels = [("app.kubernetes.io/name", "gangplank"), ("app.kubernetes.io/part-of", "gangplank")];
    definition.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) {
            plain(schema);
        }
    }
    definition
}

/// Drops the formats that the API server warns about (`uint32`: ranges say the same), and `nullable`, which the
/// derive puts on whatever may be absent: nobody writes nulls, and the API server prunes those that come.
fn plain(schema: &mut JSONSchemaProps) {
    schema.format.take_if(|format| format.starts_with("uint"));
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        plain(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = schema.items.as_mut() {
        plain(item);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HEADER: &str = "\
# What one node's accelerators really are. The agent on that node writes it by server-side apply; Gangplank reads it and
# trusts it over labels. Every list and text is bounded: a broken agent must not fill etcd or a reader's memory.
# Made from src/wire/accelerator_node.rs by `UPDATE=1 cargo test accelerator_node`.
";

    #[test]
    fn the_shipped_definition_is_the_one_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crd/acceleratornodes.yaml");
        let made = whole_numbers(serde_json::to_value(definition()).unwrap());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, format!("{HEADER}{}", serde_saphyr::to_string(&made).unwrap())).unwrap();
        }
        let shipped: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(shipped, made, "run `UPDATE=1 cargo test accelerator_node`");
    }

    /// Bounds are floats in the Rust type, and whole numbers to people.
    fn whole_numbers(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(number) => number.as_f64().map_or(0, |number| format!("{number:.0}").parse::<i64>().unwrap()).into(),
            serde_json::Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
            serde_json::Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, whole_numbers(value))).collect(),
            value => value,
        }
    }

    #[test]
    fn words_of_a_newer_agent_do_not_fail_the_list() {
        let json = r#"{"metadata":{"name":"n1"},"spec":{"servedByAgent":true,"newField":{},
            "devices":[{"id":"GPU-0","index":0,"resource":"nvidia.com/gpu","health":"Degraded"}],
            "links":[{"a":0,"b":1,"type":"C2C"},{"a":0,"b":2,"type":"NV","count":18}]}}"#;
        let node: AcceleratorNode = serde_json::from_str(json).unwrap();
        assert_eq!(node.spec.devices[0].health, HealthReport::Unhealthy);
        assert_eq!(node.spec.links[0].kind(), None);
        assert_eq!(node.spec.links[1].kind(), Some(LinkKind::NvLink(18)));
    }

    #[test]
    fn no_schema_carries_a_word_that_only_our_parser_has() {
        let text = serde_json::to_string(&definition()).unwrap();
        assert!(!text.contains("uint") && !text.contains("UNKNOWN") && !text.contains("Unknown"), "{text}");
        assert!(text.contains(r#""enum":["NV","PIX","PXB","PHB","NODE","SYS"]"#), "{text}");
    }
}
