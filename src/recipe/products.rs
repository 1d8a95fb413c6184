//! Names of products that people use, and what node labels say instead: NVIDIA's `nvidia.com/gpu.product`, which GPU
//! Feature Discovery writes, and GKE's `cloud.google.com/gke-accelerator`. One row a product.
//!
//! A row lists every variant that is sold under the name, for a name that is too narrow waits for ever. A product that
//! has no row is asked for by its label: `gpu: 4` with `products: [...]`.

use std::collections::BTreeSet;

use crate::policy::Mistake;

/// A product by the name that people use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) resource: &'static str,
    /// Label keys with the values that say this product.
    pub(super) labels: &'static [(&'static str, &'static [&'static str])],
}

impl Product {
    /// The row of this name, in whatever case.
    pub(super) fn named(name: &str) -> Result<&'static Self, Mistake> {
        ALL.iter().find(|product| product.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let short: String = name.chars().take(40).collect();
            let names: Vec<&str> = ALL.iter().map(|product| product.name).collect();
            Mistake::unknown("", "accelerator", &short, &names)
        })
    }
}

/// All values that a product label is known to have; nothing for other labels.
pub(crate) fn product_values(key: &str) -> Option<BTreeSet<&'static str>> {
    let rows = ALL.iter().flat_map(|product| product.labels).filter(|(label, _)| *label == key);
    let values: BTreeSet<&str> = rows.flat_map(|(_, values)| values.iter().copied()).collect();
    (!values.is_empty()).then_some(values)
}

pub(super) const NVIDIA: &str = "nvidia.com/gpu";
pub(super) const PRODUCT_LABEL: &str = "nvidia.com/gpu.product";
pub(super) const MEMORY_LABEL: &str = "nvidia.com/gpu.memory";
const GKE_LABEL: &str = "cloud.google.com/gke-accelerator";
const AMD_LABEL: &str = "amd.com/gpu.product-name";

const A100_40: &[&str] = &["NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"];
const A100_80: &[&str] = &["NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"];
const A100: &[&str] = &["NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB", "NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"];
const V100_16: &[&str] = &["Tesla-V100-SXM2-16GB", "Tesla-V100-PCIE-16GB"];
const V100_32: &[&str] = &["Tesla-V100-SXM2-32GB", "Tesla-V100-SXM3-32GB", "Tesla-V100-PCIE-32GB"];
const V100: &[&str] =
    &["Tesla-V100-SXM2-16GB", "Tesla-V100-PCIE-16GB", "Tesla-V100-SXM2-32GB", "Tesla-V100-SXM3-32GB", "Tesla-V100-PCIE-32GB"];

const ALL: &[Product] = &[
    nvidia("GB300", &[(PRODUCT_LABEL, &["NVIDIA-GB300"]), (GKE_LABEL, &["nvidia-gb300"])]),
    nvidia("GB200", &[(PRODUCT_LABEL, &["NVIDIA-GB200"]), (GKE_LABEL, &["nvidia-gb200"])]),
    nvidia("B300", &[(PRODUCT_LABEL, &["NVIDIA-B300", "NVIDIA-B300-SXM6-AC"])]),
    nvidia("B200", &[(PRODUCT_LABEL, &["NVIDIA-B200"]), (GKE_LABEL, &["nvidia-b200"])]),
    nvidia("H200", &[(PRODUCT_LABEL, &["NVIDIA-H200", "NVIDIA-H200-NVL"]), (GKE_LABEL, &["nvidia-h200-141gb"])]),
    nvidia(
        "H100",
        &[
            (PRODUCT_LABEL, &["NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe", "NVIDIA-H100-NVL"]),
            (GKE_LABEL, &["nvidia-h100-80gb", "nvidia-h100-mega-80gb"]),
        ],
    ),
    nvidia("H800", &[(PRODUCT_LABEL, &["NVIDIA-H800", "NVIDIA-H800-PCIe"])]),
    nvidia("H20", &[(PRODUCT_LABEL, &["NVIDIA-H20"])]),
    nvidia("A100", &[(PRODUCT_LABEL, A100), (GKE_LABEL, &["nvidia-tesla-a100", "nvidia-a100-80gb"])]),
    nvidia("A100-40GB", &[(PRODUCT_LABEL, A100_40), (GKE_LABEL, &["nvidia-tesla-a100"])]),
    nvidia("A100-80GB", &[(PRODUCT_LABEL, A100_80), (GKE_LABEL, &["nvidia-a100-80gb"])]),
    nvidia("A40", &[(PRODUCT_LABEL, &["NVIDIA-A40"])]),
    nvidia("A30", &[(PRODUCT_LABEL, &["NVIDIA-A30"])]),
    nvidia("A10", &[(PRODUCT_LABEL, &["NVIDIA-A10"])]),
    nvidia("A10G", &[(PRODUCT_LABEL, &["NVIDIA-A10G"])]),
    nvidia("L40S", &[(PRODUCT_LABEL, &["NVIDIA-L40S"])]),
    nvidia("L40", &[(PRODUCT_LABEL, &["NVIDIA-L40"])]),
    nvidia("L4", &[(PRODUCT_LABEL, &["NVIDIA-L4"]), (GKE_LABEL, &["nvidia-l4"])]),
    nvidia("V100", &[(PRODUCT_LABEL, V100), (GKE_LABEL, &["nvidia-tesla-v100"])]),
    nvidia("V100-16GB", &[(PRODUCT_LABEL, V100_16), (GKE_LABEL, &["nvidia-tesla-v100"])]),
    nvidia("V100-32GB", &[(PRODUCT_LABEL, V100_32)]),
    nvidia("T4", &[(PRODUCT_LABEL, &["Tesla-T4", "NVIDIA-Tesla-T4"]), (GKE_LABEL, &["nvidia-tesla-t4"])]),
    nvidia("P100", &[(PRODUCT_LABEL, &["Tesla-P100-SXM2-16GB", "Tesla-P100-PCIE-16GB"]), (GKE_LABEL, &["nvidia-tesla-p100"])]),
    nvidia("RTX-PRO-6000", &[(PRODUCT_LABEL, &["NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"]), (GKE_LABEL, &["nvidia-rtx-pro-6000"])]),
    Product { name: "MI300X", resource: "amd.com/gpu", labels: &[(AMD_LABEL, &["AMD_Instinct_MI300X_OAM"])] },
    Product { name: "Gaudi", resource: "habana.ai/gaudi", labels: &[] },
];

const fn nvidia(name: &'static str, labels: &'static [(&'static str, &'static [&'static str])]) -> Product {
    Product { name, resource: NVIDIA, labels }
}
