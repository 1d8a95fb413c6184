//! `gangplank bench openb` as people run it, and what of the published experiment our code reproduces.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Four nodes and forty pods: what they come to can be followed by hand, and everything runs in a moment.
fn small_lists(name: &str) -> Result<(PathBuf, PathBuf)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder)?;
    let (nodes, pods) = (folder.join("nodes.csv"), folder.join("pods.csv"));
    fs::write(
        &nodes,
        "sn,cpu_milli,memory_mib,gpu,model\na,96000,393216,8,G2\nb,96000,393216,8,G2\nc,64000,262144,2,P100\nd,64000,262144,2,P100\n",
    )?;
    let kinds = ["4000,8192,1,500,", "8000,16384,1,1000,", "12000,16384,2,1000,G2", "2000,4096,0,0,"];
    let lines: Vec<String> = (0..40).map(|at| format!("p{at:02},{}\n", kinds[at % kinds.len()])).collect();
    fs::write(&pods, format!("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n{}", lines.concat()))?;
    Ok((nodes, pods))
}

fn openb(nodes: &Path, pods: &Path, more: &[&str]) -> Result<std::process::Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    Ok(command.args(["bench", "openb", "-ojson", "--nodes"]).arg(nodes).arg("--pods").arg(pods).args(more).output()?)
}

fn openb_report(nodes: &Path, pods: &Path, more: &[&str]) -> Result<(String, Value)> {
    let output = openb(nodes, pods, more)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let report = serde_json::from_str(&text)?;
    Ok((text, report))
}

#[test]
fn bench_openb_prints_every_policy_ours_first_and_the_same_seeds_give_the_same_figures() -> Result<()> {
    let (nodes, pods) = small_lists("openb-small")?;
    let (text, report) = openb_report(&nodes, &pods, &["--seeds=1..3"])?;
    ensure!(report["list"] == "pods" && report["seeds"] == serde_json::json!([1, 2, 3]), "{report}");
    let policies = report["policies"].as_object().context("policies")?;
    ensure!(policies.len() == gangplank::sim::openb::ALL.len() + 1, "{report}");
    for (name, figures) in policies {
        ensure!(figures["alloc_pct_at"]["130"].as_f64().is_some_and(|value| (50.0..=100.0).contains(&value)), "{name}: {figures}");
        ensure!(figures["us_ahead_per_decision"].is_number() == (name == "gangplank"), "{name}: {figures}");
        ensure!(figures["std_at_130"].is_number() && figures["us_per_decision_median"].is_number(), "{name}: {figures}");
    }
    let first = policies.keys().map(|name| (text.find(&format!("\"{name}\"")), name)).min().map(|(_, name)| name.as_str());
    ensure!(first == Some("gangplank"), "{text}");

    let (_, again) = openb_report(&nodes, &pods, &["--seeds=1..3"])?;
    let decided = |report: &Value| -> Vec<Value> {
        let of = |name: &String| {
            ["alloc_pct_at", "std_at_130", "first_refusal_pct", "refused_mean"].map(|key| report["policies"][name][key].clone())
        };
        policies.keys().flat_map(of).collect()
    };
    ensure!(decided(&report) == decided(&again), "{report}\n{again}");
    Ok(())
}

#[test]
fn bench_openb_names_file_and_line_of_a_list_that_cannot_be_read() -> Result<()> {
    let (nodes, pods) = small_lists("openb-wrong")?;
    let broken = pods.with_file_name("broken.csv");
    fs::write(&broken, fs::read_to_string(&pods)?.replace("p02,12000", "p02,twelve"))?;
    let (code, error) = said(&openb(&nodes, &broken, &[])?);
    ensure!(code == Some(1) && error.contains("broken.csv") && error.contains("line 4: cpu_milli: `twelve`"), "{error}");
    let (code, error) = said(&openb(&nodes, &pods, &["--policy=best"])?);
    ensure!(code == Some(1) && error.contains("best-fit"), "{error}");
    let (code, error) = said(&openb(&nodes, &pods, &["--seeds=9..1"])?);
    ensure!(code == Some(2) && error.contains("9..1"), "{error}");
    Ok(())
}

#[test]
fn bench_openb_replays_a_list_that_has_times_and_says_so_of_one_that_has_none() -> Result<()> {
    let (nodes, pods) = small_lists("openb-replay")?;
    let (code, error) = said(&openb(&nodes, &pods, &["--replay"])?);
    ensure!(code == Some(1) && error.contains("p00 has no creation_time"), "{error}");
    let timed = pods.with_file_name("timed.csv");
    let lines = (0..60).map(|at| format!("p{at:02},8000,16384,1,1000,{},{},{}\n", at * 10, at * 10 + 500, at * 10 + 1));
    let lines: Vec<String> = lines.collect();
    fs::write(
        &timed,
        format!("name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time,scheduled_time\n{}", lines.concat()),
    )?;
    let (_, report) = openb_report(&nodes, &timed, &["--replay", "--policy=gangplank,first-fit"])?;
    for name in ["gangplank", "first-fit"] {
        // Twenty GPUs; one pod in 10 s, each for 499 s: forty would run at once, so that the twenty-first waits 300 s.
        let figures = &report["policies"][name];
        ensure!(figures["never_placed"] == 0.0 && figures["wait_max_s"].as_f64().is_some_and(|wait| wait > 290.0), "{name}: {figures}");
        ensure!(figures["alloc_waiting_pct"].as_f64().is_some_and(|percent| percent > 99.0), "{name}: {figures}");
    }
    Ok(())
}

/// Everything that could differ between the two is in the bytes between kube-scheduler's loop and the server.
#[test]
fn through_the_protocol_our_engine_packs_as_it_does_in_process() -> Result<()> {
    let (nodes, pods) = small_lists("openb-protocol")?;
    let run = |through: &str| -> Result<Value> {
        let (_, report) = openb_report(&nodes, &pods, &["--seeds=42..43", "--policy=gangplank", "--tune=1.5", "--through", through])?;
        Ok(report["policies"]["gangplank"].clone())
    };
    let (engine, protocol) = (run("engine")?, run("protocol")?);
    let points = engine["alloc_pct_at"].as_object().context("points")?;
    ensure!(points.len() > 3, "{engine}");
    for (at, there) in points {
        let both = protocol["alloc_pct_at"][at].as_f64().zip(there.as_f64());
        ensure!(both.is_some_and(|(here, there)| (here - there).abs() <= 0.1), "at {at} %: {protocol}, in process {engine}");
    }
    ensure!(engine["refused_mean"].as_f64().is_some_and(|refused| refused > 0.0), "a cluster that never fills shows nothing: {engine}");
    Ok(())
}

fn said(output: &std::process::Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The lists of the published experiment, where they lie beside the project.
pub(crate) fn real_lists() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("GANGPLANK_DATA").map_or(beside, PathBuf::from).join("openb");
    if folder.is_dir() {
        return Some(folder);
    }
    let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: the openb lists in {} are not there ====\n", folder.display());
    None
}

/// One seed of ten: the published deviation over seeds is 0.08.
#[test]
fn fgd_by_our_code_comes_within_half_a_percent_of_what_was_published() -> Result<()> {
    let Some(folder) = real_lists() else { return Ok(()) };
    let (nodes, pods) = (folder.join("openb_node_list_gpu_node.csv"), folder.join("openb_pod_list_default.csv"));
    let (_, report) = openb_report(&nodes, &pods, &["--seeds=42", "--policy=fgd,best-fit"])?;
    for (name, at, published) in [("fgd", "95", 94.91), ("fgd", "100", 95.23), ("fgd", "130", 95.39), ("best-fit", "130", 93.08)] {
        let here = report["policies"][name]["alloc_pct_at"][at].as_f64().context("a figure")?;
        ensure!((here - published).abs() <= 0.5, "{name} at {at} %: {here}, published {published}");
    }
    Ok(())
}
