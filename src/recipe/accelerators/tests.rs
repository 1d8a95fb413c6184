//! The compact form: what it is read as, and what is said of what it is not.

use super::*;

fn read(text: &str) -> Accelerators {
    Accelerators::parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake}"))
}

fn limits(text: &str) -> String {
    let limits: Vec<String> = read(text).limits.iter().map(|(name, count)| format!("{name}={count}")).collect();
    limits.join(" ")
}

/// `key In a,b & key Gt 1 | ...`
fn nodes(text: &str) -> String {
    let label = |label: &Label| format!("{} {} {}", label.key.rsplit('/').next().unwrap(), label.operator, label.values.join(","));
    let all = |labels: &Vec<Label>| labels.iter().map(label).collect::<Vec<_>>().join(" & ");
    read(text).nodes.iter().map(all).collect::<Vec<_>>().join(" | ")
}

#[test]
fn amounts_are_read_in_every_way_that_people_write_them() {
    for (text, expected) in [
        ("gpu", "nvidia.com/gpu=1"),
        ("gpu:2", "nvidia.com/gpu=2"),
        ("8", "nvidia.com/gpu=8"),
        ("0.5", "gangplank.dev/gpu-milli=500"),
        ("gpu:0.5", "gangplank.dev/gpu-milli=500"),
        ("gpu:.125", "gangplank.dev/gpu-milli=125"),
        ("gpu:24GB:0.5", "gangplank.dev/gpu-milli=500 gangplank.dev/gpu-memory-mib=11444"),
        ("H100:8", "nvidia.com/gpu=8"),
        ("h100", "nvidia.com/gpu=1"),
        ("A100-80GB:4", "nvidia.com/gpu=4"),
        ("A100:40GB:2", "nvidia.com/gpu=2"),
        ("A100:2:40GB", "nvidia.com/gpu=2"),
        ("24GB..", "nvidia.com/gpu=1"),
        ("24GB..80GB:2", "nvidia.com/gpu=2"),
        ("MI300X:8", "amd.com/gpu=8"),
        ("amd.com/gpu:4", "amd.com/gpu=4"),
        ("Gaudi:8", "habana.ai/gaudi=8"),
        ("aws.amazon.com/neuron:16", "aws.amazon.com/neuron=16"),
        ("cloud-tpus.google.com/v3:8", "cloud-tpus.google.com/v3=8"),
        ("mig-1g.10gb:2", "nvidia.com/mig-1g.10gb=2"),
        ("tpu-v5e:4x4", "google.com/tpu=4"),
        ("tpu-v5e:8", "google.com/tpu=8"),
        ("tpu-v5e:2x4", "google.com/tpu=8"),
        ("tpu-v5p:4x4x8", "google.com/tpu=4"),
        (" H100 : 8 ", "nvidia.com/gpu=8"),
    ] {
        assert_eq!(limits(text), expected, "{text}");
    }
}

#[test]
fn a_product_is_any_of_the_labels_that_say_it() {
    for (text, expected) in [
        ("gpu:8", ""),
        ("amd.com/gpu:8", ""),
        ("H20:8", "gpu.product In NVIDIA-H20"),
        ("L4", "gpu.product In NVIDIA-L4 | gke-accelerator In nvidia-l4"),
        ("L4|T4", "gpu.product In NVIDIA-L4,Tesla-T4,NVIDIA-Tesla-T4 | gke-accelerator In nvidia-l4,nvidia-tesla-t4"),
        ("V100-32GB|H20", "gpu.product In Tesla-V100-SXM2-32GB,Tesla-V100-SXM3-32GB,Tesla-V100-PCIE-32GB,NVIDIA-H20"),
        ("24GB..", "gpu.memory Gt 22887"),
        ("..24GB", "gpu.memory Lt 24577"),
        ("80GB", "gpu.memory Gt 76292 & gpu.memory Lt 81921"),
        ("H20:96GB..", "gpu.product In NVIDIA-H20 & gpu.memory Gt 91551"),
        ("MI300X:8", "gpu.product-name In AMD_Instinct_MI300X_OAM"),
        ("tpu-v5e:4x4", "gke-tpu-accelerator In tpu-v5-lite-podslice & gke-tpu-topology In 4x4"),
        ("tpu-v3:2x2", "gke-tpu-accelerator In tpu-v3-device & gke-tpu-topology In 2x2"),
        ("tpu-v3:4x4", "gke-tpu-accelerator In tpu-v3-slice & gke-tpu-topology In 4x4"),
        ("tpu-v6e:2x2", "gke-tpu-accelerator In tpu-v6e-slice & gke-tpu-topology In 2x2"),
    ] {
        assert_eq!(nodes(text), expected, "{text}");
    }
}

/// L4 reports 23,034 MiB, A10 23,028, V100 16,384 or 32,768, T4 15,360, A100 40,960 or 81,920, H100 81,559, H200 143,771.
#[test]
fn devices_of_a_size_are_those_that_are_sold_as_it() {
    for (text, mib) in
        [("24GB", 23_034), ("24GB", 23_028), ("16GB", 15_360), ("16GB", 16_384), ("80GB", 81_559), ("80GB", 81_920), ("141GB", 143_771)]
    {
        let memory = Memory::parse(text).unwrap();
        assert!(memory.mib_min.unwrap() <= mib && mib <= memory.mib_max.unwrap(), "{text}: {mib}, {memory:?}");
    }
    assert!(Memory::parse("24GB").unwrap().mib_max.unwrap() < 32_768);
}

#[test]
fn a_slice_says_how_many_hosts_it_takes() {
    for (text, hosts, chips) in [
        ("tpu-v5e:4x4", 4, 4),
        ("tpu-v5e:2x4", 1, 8),
        ("tpu-v5e:16x16", 64, 4),
        ("tpu-v6e:1x1", 1, 1),
        ("tpu-v4:2x2x1", 1, 4),
        ("tpu-v5p:4x4x4", 16, 4),
        ("tpu-tpu7x:2x2x2", 2, 4),
    ] {
        let read = read(text);
        assert_eq!((read.slice.unwrap().hosts, read.devices), (hosts, chips), "{text}");
    }
}

#[test]
fn mistakes_say_what_to_write_instead() {
    for (text, problem) in [
        ("", "write H100:8"),
        ("H1OO:8", "there is no accelerator `H1OO`; did you mean `H100`?"),
        ("A100-8GB", "did you mean `A100-80GB`?"),
        ("H100:0", "has `0`, which is no amount; "),
        ("H100:-1", "has `-1`"),
        ("H100:1.5", "has `1.5`"),
        ("H100:8:8", "says twice how many"),
        ("H100:80GB:80GB", "says twice how much memory"),
        ("H100:65", "no amount"),
        ("H100:4x4", "gives a shape to what is no TPU"),
        ("tpu-v5e:3x3", "`3x3` is no slice of TPU v5e; write a shape that exists, such as tpu-v5e:2x4 or 4x4"),
        ("tpu-v5e", "is no slice of TPU v5e"),
        ("tpu-v5e:0.5", "is no slice"),
        ("tpu-v5d:4x4", "there is no TPU generation `v5d`; did you mean"),
        ("amd.com/gpu:0.5", "only NVIDIA GPUs are shared"),
        ("H100|MI300X:8", "different vendors"),
        ("google.com/tpu:8", "write tpu-v5e:4x4"),
        ("80GB..24GB", "there is no accelerator"),
        ("nvidia.com/*:1", "does not say which"),
        ("kubernetes.io/x:1", "names no resource"),
        ("gangplank.dev/gpu-milli:5", "names no resource"),
        ("MI300X:192GB:8", "which only NVIDIA's labels tell"),
        ("999999999999999999999", "there is no accelerator"),
    ] {
        let mistake = Accelerators::parse(text).map(|read| format!("{read:?}")).unwrap_err().to_string();
        assert!(mistake.contains(problem), "{text}: {mistake}");
    }
}

proptest::proptest! {
    /// Whatever is written, the answer is a request or a mistake with a remedy.
    #[test]
    fn no_text_makes_it_fail_otherwise(text in "\\PC{0,40}") {
        if let Err(mistake) = Accelerators::parse(&text) {
            proptest::prop_assert!(mistake.to_string().contains("; "));
        }
    }
}
