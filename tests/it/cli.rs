//! The binary as people run it: whole outputs, exit codes, and which stream what goes to.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a command printed, as one text: `UPDATE=1 cargo test --test it cli` rewrites tests/golden/cli/NAME.txt.
fn check(name: &str, args: &[&str]) {
    let output = gangplank(args);
    let printed = format!(
        "$ gangplank {}\nexit {}\n--- stdout\n{}--- stderr\n{}",
        args.join(" "),
        output.status.code().unwrap_or(-1),
        masked(&output.stdout),
        masked(&output.stderr)
    );
    let path = root().join(format!("tests/golden/cli/{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &printed).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == printed, "{name} has changed; if it is right now: UPDATE=1 cargo test --test it cli\n{printed}");
}

fn gangplank(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    command.args(args).current_dir(root()).env_remove("KUBECONFIG").env_remove("GANGPLANK_SERVER").env("NO_COLOR", "1");
    command.output().unwrap()
}

/// Ports and durations vary from run to run.
fn masked(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let mut line = line.to_owned();
        if let Some((before, after)) = line.split_once("http://127.0.0.1:") {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            line = format!("{before}http://127.0.0.1:PORT{rest}");
        }
        if let Some((before, _)) = line.split_once("filter p50 ") {
            line = format!("{before}filter p50 ... us, p99 ... us\n");
        }
        out.push_str(&line);
    }
    out
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

const ROOM: &str = "tests/golden/cli/room.yaml";
const FITS: &str = "tests/golden/cli/fits.yaml";
const SCATTERED: &str = "tests/golden/cli/scattered.yaml";
const TOO_MUCH: &str = "tests/golden/cli/too-much.yaml";

#[test]
fn help_lists_every_command_and_the_exit_codes() {
    check("help", &["--help"]);
}

#[test]
fn simulate_prints_a_picture_and_ends_with_0_when_everything_fits() {
    check("simulate-fits", &["simulate", "--cluster", ROOM, "--workloads", FITS]);
}

#[test]
fn simulate_says_who_waits_and_ends_with_3() {
    check("simulate-waits", &["simulate", "--cluster", ROOM, "--workloads", FITS, TOO_MUCH]);
}

#[test]
fn simulate_prints_the_promised_object() {
    check("simulate-json", &["simulate", "--cluster", ROOM, "--workloads", FITS, TOO_MUCH, "-o", "json"]);
    check("simulate-yaml", &["simulate", "--cluster", ROOM, "--workloads", TOO_MUCH, "-o", "yaml"]);
}

/// Every manifest that we show to people can be asked about, whatever its kind.
#[test]
fn simulate_takes_every_example() {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("deploy/examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    assert!(files.len() >= 20, "{} examples", files.len());
    for file in files {
        let output = gangplank(&["simulate", "-o", "json", "--cluster", ROOM, "--workloads", file.to_str().unwrap()]);
        let fits = output.status.code() == Some(0);
        assert!(fits || output.status.code() == Some(3), "{}: {output:?}", file.display());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["pending"].as_array().unwrap().is_empty(), fits, "{}", file.display());
    }
}

#[test]
fn simulate_names_file_and_line_of_a_mistake() {
    check("simulate-mistake", &["simulate", "--cluster", ROOM, "--workloads", "tests/golden/cli/mistake.yaml"]);
    check("simulate-no-file", &["simulate", "--cluster", ROOM, "--workloads", "nowhere.yaml"]);
    check("simulate-no-nodes", &["simulate", "--cluster", FITS, "--workloads", FITS]);
    check("simulate-usage", &["simulate", "--cluster", ROOM]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let args = |seed| ["simulate", "--cluster", ROOM, "--workloads", FITS, TOO_MUCH, "-o", "json", "--seed", seed];
    let first = gangplank(&args("7")).stdout;
    assert!(!first.is_empty());
    assert_eq!(first, gangplank(&args("7")).stdout);
}

#[test]
fn demo_ends_by_itself_over_the_real_server() {
    check("demo", &["demo"]);
    let json = |seed| gangplank(&["demo", "-o", "json", "--seed", seed]).stdout;
    assert_eq!(json("5"), json("5"), "the same seed gave another outcome");
}

#[test]
fn policy_shows_the_shipped_profile_and_names_a_mistake() {
    check("policy-show", &["policy", "show"]);
    check("policy-check", &["policy", "check", "policies/default.yaml", "tests/golden/cli/bad-profile.yaml"]);
    check("policy-check-together", &["policy", "check", "--together", "default", "policies/default.yaml"]);
    check("policy-diff", &["policy", "diff", "tests/golden/cli/before.yaml", "tests/golden/cli/after.yaml"]);
    check("policy-diff-same", &["policy", "diff", "default", "policies/default.yaml", "-o", "json"]);
    check("policy-nobody", &["policy", "show", "trainign"]);
}

#[test]
fn explain_and_topo_say_what_to_do_when_nobody_answers() {
    check("explain-nobody", &["explain", "ml/train", "--server", "127.0.0.1:1"]);
    check("topo-nobody", &["topo", "dgx-1", "--server", "127.0.0.1:1"]);
}

#[test]
fn defrag_names_the_cheapest_moves_that_open_a_block_and_what_keeps_it_shut() {
    let plan = |name: &str, more: &[&str]| check(name, &[&["defrag", "--dry-run", "--cluster", SCATTERED, "--open"], more].concat());
    plan("defrag-node", &["node"]);
    plan("defrag-json", &["node", "-o", "json"]);
    plan("defrag-rack", &["rack=r1"]);
    plan("defrag-evicts", &["node=box-1", "--priority", "1"]);
    plan("defrag-shut", &["rack=r2"]);
    plan("defrag-no-level", &["shelf"]);
    plan("defrag-mistake", &["node="]);
    check("defrag-not-dry", &["defrag", "--open", "node"]);
    check("defrag-nobody", &["defrag", "--dry-run", "--open", "node", "--server", "127.0.0.1:1"]);
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = gangplank(&["completion", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("simulate"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let command = format!("{} policy show -o json | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_gangplank"));
    let output = Command::new("bash").args(["-c", &command]).current_dir(root()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
