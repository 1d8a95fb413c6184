//! The agent against a driver of our own: real programs, a real shared library, described machines. `UPDATE=1 cargo test
//! --test agent` rewrites tests/golden/agent.
#![cfg(all(feature = "agent", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "agent/machine.rs"]
mod machine;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use gangplank::model::LinkKind;
use gangplank::topology::catalogue;
use machine::Machine;

/// The fake driver, compiled once a run. Cargo runs this test, so rustc is there.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let (library, fresh) = (scratch().join("libnvidia-ml.so.1"), scratch().join(format!("fake-driver-{}", std::process::id())));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args(["--edition", "2024", "--crate-type", "cdylib", "-D", "warnings", "-o"])
        .arg(&fresh)
        .arg(root().join("tests/agent/driver.rs"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(fresh, &library).unwrap();
    library
});

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// What `discover` says on a machine that the fake driver's text describes.
fn discover(name: &str, text: &str, sysfs: &Path, args: &[&str]) -> Output {
    let described = scratch().join(format!("{name}.txt"));
    fs::write(&described, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank-agent"));
    command.arg("discover").arg("--library").arg(&*LIBRARY).arg("--sysfs").arg(sysfs).args(["--node", name]).args(args);
    command.env("FAKE_NVML_MACHINE", described).env("NO_COLOR", "1").output().unwrap()
}

fn printed(output: &Output) -> String {
    let part = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{}", part(&output.stderr));
    part(&output.stdout)
}

#[test]
fn each_described_machine_is_discovered_exactly() {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("tests/agent/machines")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 7, "{} machines", files.len());
    let mut changed = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let machine: Machine = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let sysfs = scratch().join(format!("sysfs-{name}"));
        let _ = fs::remove_dir_all(&sysfs);
        machine.write_sysfs(&sysfs);
        let text = machine.driver_text();
        for (format, end) in [("yaml", "yaml"), ("table", "txt")] {
            let said = printed(&discover(name, &text, &sysfs, &["-o", format]));
            let golden = root().join(format!("tests/golden/agent/{name}.{end}"));
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&golden, &said).unwrap();
            }
            if fs::read_to_string(&golden).unwrap_or_default() != said {
                changed.push(format!("{name} as {format}:\n{said}"));
            }
        }
    }
    assert!(changed.is_empty(), "if these are right now: UPDATE=1 cargo test --test agent\n{}", changed.join("\n"));
}

/// What the API server would prune or refuse must not be printed either.
#[test]
fn what_is_printed_is_what_the_definition_takes() {
    for entry in fs::read_dir(root().join("tests/golden/agent")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let written: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let node: gangplank::wire::AcceleratorNode = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&node).unwrap(), written, "{}", path.display());
    }
}

/// What the agent finds on a usual box is what the catalogue says of that box when no agent is there.
#[test]
fn usual_boxes_are_linked_as_the_catalogue_says() {
    for (name, product) in [("dgx-1v", "Tesla-V100-SXM2-32GB"), ("hgx-h100", "NVIDIA-H100-80GB-HBM3"), ("nvl72-tray", "NVIDIA-GB200")] {
        let text = fs::read_to_string(root().join(format!("tests/golden/agent/{name}.yaml"))).unwrap();
        let node: gangplank::wire::AcceleratorNode = serde_saphyr::from_str(&text).unwrap();
        let is_nvlink = |kind: &LinkKind| matches!(kind, LinkKind::NvLink(_));
        let known = catalogue::links("nvidia.com/gpu", Some(product), node.spec.devices.len());
        let known: BTreeSet<_> = known.iter().filter(|link| is_nvlink(&link.kind)).map(|link| (link.a, link.b, link.kind)).collect();
        let found = node.spec.links.iter().filter_map(|link| Some((link.a, link.b, link.kind()?)));
        let found: BTreeSet<_> = found.filter(|(_, _, kind)| is_nvlink(kind)).collect();
        assert!(!found.is_empty(), "{name}");
        assert_eq!(found, known, "{name}");
    }
}

#[test]
fn a_driver_that_is_not_there_reports_nothing_and_says_what_to_do() {
    let cases = [("init=9\n", "the NVIDIA kernel module is not loaded", "modprobe nvidia"), ("init=18\n", "different versions", "reboot")];
    for (text, problem, remedy) in cases {
        let output = discover("no-driver", text, Path::new("/nowhere"), &["-o", "json"]);
        let (said, talk) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{talk}");
        let node: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&node["metadata"]["name"], node["spec"]["devices"].as_array().map(Vec::len)), (&"no-driver".into(), Some(0)), "{said}");
        assert!(talk.contains(problem) && talk.contains("hint: ") && talk.contains(remedy), "{talk}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank-agent"));
    let output = command.args(["discover", "--library", "/nowhere/libnvidia-ml.so.1", "--node", "n1"]).output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "n1  driver unknown  CUDA unknown  0 devices\n");
    assert!(talk.contains("/nowhere/libnvidia-ml.so.1") && talk.contains("install the driver"), "{talk}");
}

#[test]
fn every_command_is_documented() {
    let text = fs::read_to_string(root().join("docs/agent.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `gangplank-agent "));
    let rows: Vec<&str> = rows.map(|row| row.split([' ', '`']).next().unwrap_or_default()).collect();
    assert_eq!(rows, gangplank::cli::agent::names().collect::<Vec<_>>());
}
