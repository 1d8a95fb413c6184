//! The kind `AcceleratorNode`: what the agent of a node says about its devices, links and real allocations.
//!
//! Cluster-scoped and named as its Node. All of it stands in `spec`: the agent is its only writer, and there is
//! nothing that a controller would reconcile. The bounds in the schema are checked by the API server; readers cut
//! what is beyond them all the same. `deploy/crd/acceleratornodes.yaml` is made from the types below.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::LinkKind;

/// What a node's agent reports.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "gangplank.dev",
    version = "v1alpha1",
    kind = "AcceleratorNode",
    plural = "acceleratornodes",
    derive = "PartialEq",
    derive = "Default",
    category = "gangplank",
    doc = "The accelerators of one Node as its gangplank-agent sees them. Named as the Node.",
    printcolumn = r#"{"name":"Served","type":"boolean","jsonPath":".spec.servedByAgent","description":"Whether the agent serves the devices to kubelet"}"#,
    printcolumn = r#"{"name":"Driver","type":"string","jsonPath":".spec.driverVersion"}"#,
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
    /// The devices.
    #[serde(default)]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub devices: Vec<DeviceReport>,
    /// Links between pairs of them, each pair once. A missing pair is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2016))]
    pub links: Vec<LinkReport>,
    /// What the containers on the node really got, from kubelet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub allocations: Vec<Allocation>,
}

/// An NVLink fabric across nodes: the two halves of the label `nvidia.com/gpu.clique`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Fabric {
    /// The NVLink domain (a rack).
    #[serde(rename = "clusterUUID")]
    #[schemars(length(min = 1, max = 64))]
    pub cluster_uuid: String,
    /// The partition in it whose devices reach each other.
    #[serde(rename = "cliqueID")]
    #[schemars(length(min = 1, max = 16))]
    pub clique_id: String,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// Unique on the node: the UUID where the vendor gives one.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// The vendor's index, as in `nvidia-smi -L`.
    #[schemars(range(min = 0, max = 255))]
    pub index: u32,
    /// The extended resource that it counts for.
    #[schemars(length(min = 1, max = 317))]
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

/// A link between two devices.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct LinkReport {
    /// The id of one end.
    #[schemars(length(min = 1, max = 128))]
    pub a: String,
    /// The id of the other end.
    #[schemars(length(min = 1, max = 128))]
    pub b: String,
    /// What runs between them, in the legend of `nvidia-smi topo -m`.
    #[serde(rename = "type")]
    pub kind: LinkType,
    /// How many NVLinks are bonded; only with NV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub count: Option<u8>,
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
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub device_ids: Vec<String>,
}

/// The definition that a cluster needs, as `deploy/crd/acceleratornodes.yaml` has it.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = AcceleratorNode::crd();
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) {
            plain(schema);
        }
    }
    definition
}

/// Drops the formats that the API server warns about (`uint32`): ranges say the same.
fn plain(schema: &mut k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps) {
    schema.format.take_if(|format| format.starts_with("uint"));
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        plain(property);
    }
    if let Some(k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray::Schema(item)) =
        schema.items.as_mut()
    {
        plain(item);
    }
}

/// The definition as a JSON value, for whoever renders it.
///
/// # Errors
/// Never for a definition of ours; serializing is fallible by type.
pub fn definition_json() -> Result<Value, serde_json::Error> {
    serde_json::to_value(definition())
}
