//! `gangplank-provision` as people run it, and what it renders before the real API server.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod applied;
mod group;
mod halving;
mod hostile;
mod served;
mod specs;
mod tls;
mod told;
mod tutorial;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command printed: `UPDATE=1 cargo test --test it provision` rewrites tests/golden/provision/NAME.txt.
fn check(name: &str, args: &[&str]) {
    let output = provision(args, "");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let printed = format!(
        "$ gangplank-provision {}\nexit {}\n--- stdout\n{}--- stderr\n{}",
        args.join(" "),
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr)
    );
    let path = root().join(format!("tests/golden/provision/{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &printed).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == printed, "{name} has changed; if it is right now: UPDATE=1 cargo test --test it provision\n{printed}");
}

/// Runs the program with this on stdin.
pub(crate) fn provision(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank-provision"));
    command.args(args).current_dir(root()).env_remove("KUBECONFIG").env("NO_COLOR", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

const CLUSTER: &str = "tests/golden/provision/cluster.yaml";
const TRAIN: &str = "tests/golden/provision/train.yaml";

#[test]
fn help_lists_every_command() {
    check("help", &["--help"]);
}

#[test]
fn render_prints_what_kubectl_applies() {
    check("render", &["render", TRAIN]);
    let list = provision(&["render", "-o", "json", TRAIN], "");
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&serde_json::json!("List"), 4));
}

#[test]
fn render_names_file_and_line_of_a_mistake() {
    check("mistake", &["render", "tests/golden/provision/mistake.yaml"]);
    check("no-file", &["render", "nowhere.yaml"]);
    check("no-form", &["render", "--as", "keda", TRAIN]);
    check("usage", &["render"]);
}

#[test]
fn what_init_writes_renders_for_every_framework() {
    check("init", &["init"]);
    for framework in gangplank::recipe::framework::ALL {
        let written = provision(&["init", "first", "--framework", framework.name, "--workers", "4"], "");
        assert!(written.status.success(), "{written:?}");
        let rendered = provision(&["render", "-"], std::str::from_utf8(&written.stdout).unwrap());
        assert!(rendered.status.success(), "{}: {rendered:?}", framework.name);
    }
}

#[test]
fn what_init_writes_of_every_kind_passes_render_and_check() {
    for kind in gangplank::recipe::KINDS {
        let written = provision(&["init", "first", "--kind", kind.name, "--yes"], "");
        assert!(written.status.success(), "{written:?}");
        let text = String::from_utf8(written.stdout).unwrap();
        let rendered = provision(&["render", "-"], &text);
        assert!(rendered.status.success(), "{}: {rendered:?}", kind.name);
        for manifests in [text, String::from_utf8(rendered.stdout).unwrap()] {
            let checked = provision(&["check", "-o", "json", "-"], &manifests);
            let findings: Vec<serde_json::Value> = serde_json::from_slice(&checked.stdout).unwrap();
            assert!(checked.status.success() && findings.iter().all(|finding| finding["level"] == "note"), "{}: {checked:?}", kind.name);
        }
    }
    check("init-dataset", &["init", "images", "--kind", "Dataset", "--size", "1Ti"]);
    check("init-stray", &["init", "--kind", "Dataset", "--image", "a/b:1"]);
}

#[test]
fn init_keeps_a_file_that_is_there_and_refuses_flags_that_make_no_spec() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("init-{}.yaml", std::process::id()));
    let _ = fs::remove_file(&path);
    let file = path.to_str().unwrap();
    assert!(provision(&["init", "--file", file], "").status.success());
    let again = provision(&["init", "other", "--file", file], "");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is there already"), "{again:?}");
    assert!(fs::read_to_string(&path).unwrap().contains("name: train"));
    fs::remove_file(&path).unwrap();
    check("init-mistake", &["init", "--accelerators", "H1OO:8"]);
    let hostile = provision(&["init", "x", "--image", "a\"\nspec: {user: 0}"], "");
    assert_eq!(hostile.status.code(), Some(1), "{hostile:?}");
}

#[test]
fn plan_says_when_it_would_start_and_on_whose_word_that_rests() {
    let cluster = fs::read_to_string(root().join(CLUSTER)).unwrap();
    let silent = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("silent-{}.yaml", std::process::id()));
    fs::write(&silent, cluster.replace("{gangplank.dev/expected-duration: 2h}", "{}")).unwrap();
    let start = |cluster: &str, rest: &str| {
        let spec =
            format!("apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: new}}\nspec: {{image: 'a/b:1', {rest}}}");
        let output = provision(&["plan", "-n", "default", "-o", "json", "--cluster", cluster, "--", "-"], &spec);
        let planned: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let start = &planned["starts"][0];
        assert_eq!(planned["starts"].as_array().unwrap().len(), 1, "{planned}");
        (start["when"].as_str().unwrap().to_owned(), start["untilSeconds"].as_u64(), start["basis"].as_str().unwrap_or_default().to_owned())
    };
    let (one, both) = ("what the one pod that has to end says of itself", "what the 2 pods that have to end say of themselves");
    assert_eq!(start(CLUSTER, "accelerators: 'H100:8'"), ("expected".into(), Some(5400), one.into()));
    assert_eq!(start(CLUSTER, "accelerators: 'H100:8', workers: 2"), ("expected".into(), Some(16_200), both.into()));
    assert_eq!(start(CLUSTER, "accelerators: 'H100:8', workers: 3").0, "never");
    assert_eq!(start(CLUSTER, "accelerators: 'H100:8', priority: urgent").0, "after-evictions");
    assert_eq!(start(CLUSTER, "cpu: 1"), ("now".into(), Some(0), String::new()));
    let (when, until, basis) = start(silent.to_str().unwrap(), "accelerators: 'H100:8', workers: 2");
    assert_eq!(
        (when.as_str(), until, basis.as_str()),
        ("not-predictable", None, "1 of the 2 pods that have to end do not say how long they run")
    );
    fs::remove_file(&silent).unwrap();
    check("plan", &["plan", "-n", "default", "--cluster", CLUSTER, "--", "tests/golden/provision/waits.yaml"]);
}

#[test]
fn schema_prints_both_forms_and_completion_every_shell() {
    let schema = provision(&["schema", "trainingjob"], "");
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["properties"]["kind"]["const"], "TrainingJob");
    let definition = provision(&["schema", "TrainingJob", "--crd"], "");
    assert!(String::from_utf8_lossy(&definition.stdout).contains("kind: CustomResourceDefinition"));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = provision(&["completion", shell], "");
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("render"), "{shell}");
    }
}

#[test]
fn every_command_stands_in_the_table_of_the_page() {
    let page = fs::read_to_string(root().join("docs/provision.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `gangplank-provision ")?.split('`').next()).collect();
    assert_eq!(rows, gangplank::cli::provision::names().collect::<Vec<_>>());
}
