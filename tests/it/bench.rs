//! Benchmarks run and print the shape that others read; no test asserts a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[test]
fn bench_wire_prints_one_object_of_figures_by_names() -> Result<()> {
    let arguments = ["bench", "wire", "--names=10,20", "--pods=16", "--runs=1", "--output=json"];
    let output = Command::new(env!("CARGO_BIN_EXE_gangplank")).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    for names in ["10", "20"] {
        for figure in ["filter_p50_us", "filter_p99_us", "prioritize_p99_us", "bind_p99_us", "requests_per_s"] {
            ensure!(report["names"][names][figure].as_f64().is_some_and(|value| value > 0.0), "{names} {figure}: {report}");
        }
    }
    Ok(())
}

#[test]
fn bench_gangs_prints_one_object_of_figures() -> Result<()> {
    let arguments = ["bench", "gangs", "--smaller=20", "--runs=1", "--output=json"];
    let output = Command::new(env!("CARGO_BIN_EXE_gangplank")).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    for figure in
        ["plan_1000_pods_5000_nodes_ms", "plan_512_pods_500_nodes_ms", "infeasible_10_pods_ms", "plan_single_us", "preempt_1000_nodes_ms"]
    {
        ensure!(report[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {report}");
    }
    Ok(())
}

const HEADER: &str = "topology,gpu_a,gpu_b,link,bw_gb_s\n";

fn bench_topology(boxes: &Path, arrivals: u32) -> Result<Value> {
    let (topologies, arrivals) = (format!("--topologies={}", boxes.display()), format!("--arrivals={arrivals}"));
    let arguments = ["bench", "topology", &topologies, &arrivals, "--output=json"];
    let output = Command::new(env!("CARGO_BIN_EXE_gangplank")).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn written(name: &str, text: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.csv", std::process::id()));
    fs::write(&path, text)?;
    Ok(path)
}

fn is_the_optimum(report: &Value) -> Result<()> {
    for (machine, sizes) in report["machines"].as_object().context("machines")? {
        for (size, figures) in sizes.as_object().context("sizes")? {
            for figure in ["ours_min", "ours_mean"] {
                let part = figures[figure].as_f64().context(figure)?;
                ensure!((part - 1.0).abs() < 1e-9, "{machine}, {size} devices: {figure} is {part} of the optimum");
            }
        }
    }
    Ok(())
}

/// A file of the published boxes, where they lie beside the project.
fn published(file: &str) -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("GANGPLANK_DATA").map_or(data, PathBuf::from).join("mapa").join(file);
    if path.is_file() {
        return Some(path);
    }
    let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: {} is not there; only boxes of our own were tried ====\n", path.display());
    None
}

#[test]
fn pods_that_come_and_go_always_get_the_best_that_the_free_devices_allow() -> Result<()> {
    let mut text = HEADER.to_owned();
    // Six devices in two islands with one bridge, eight of which hardly two pairs are alike, and three.
    for (a, b) in (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b))) {
        let link = if a / 3 == b / 3 || (a, b) == (2, 3) { "NV2,50" } else { "SYS,9.5" };
        writeln!(text, "islands,{a},{b},{link}")?;
    }
    for (a, b) in (1..9).flat_map(|a| (a + 1..9).map(move |b| (a, b))) {
        writeln!(text, "motley,{a},{b},NV1,{}.{}", 10 + (a * 37 + b * 11) % 29, (a + b) % 10)?;
    }
    text += "three,7,8,PIX,24\nthree,7,9,PHB,20\nthree,8,9,SYS,18.3\n";
    let report = bench_topology(&written("own-boxes", &text)?, 2000)?;
    is_the_optimum(&report)?;
    let motley = &report["machines"]["motley"]["4"];
    ensure!(motley["states"].as_u64() > Some(100) && motley["lowest_id_mean"].as_f64() < Some(0.97), "a test that cannot fail: {motley}");
    ensure!(report["machines"]["three"]["3"]["optimum"].as_f64() == Some(62.3), "{report}");
    let (ours, random) = (&report["churn"]["islands"]["ours"]["got"], &report["churn"]["islands"]["random"]["got"]);
    ensure!(ours.as_f64() > random.as_f64(), "{ours} against {random}");
    Ok(())
}

#[test]
fn pods_that_come_and_go_get_the_best_of_every_published_box() -> Result<()> {
    let Some(boxes) = published("topologies.csv") else { return Ok(()) };
    is_the_optimum(&bench_topology(&boxes, 10_000)?)
}

#[test]
fn the_optimum_of_every_empty_box_is_the_published_one() -> Result<()> {
    let (Some(boxes), Some(published)) = (published("topologies.csv"), published("optimal_ksubsets.csv")) else { return Ok(()) };
    let report = bench_topology(&boxes, 1)?;
    is_the_optimum(&report)?;
    let text = fs::read_to_string(published)?;
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().context("a header")?.split(',').collect();
    let mut compared = 0;
    for line in lines {
        let row: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(',')).collect();
        let figures = &report["machines"][row["topology"]][row["k"]];
        for (published, ours) in [("ring_best", "optimum"), ("clique_best", "clique_optimum")] {
            let (published, ours): (f64, f64) = (row[published].parse()?, figures[ours].as_f64().with_context(|| line.to_owned())?);
            ensure!((published - ours).abs() < 0.05, "{line}: {ours}");
            compared += 1;
        }
    }
    ensure!(compared >= 100, "{compared} compared");
    Ok(())
}

#[test]
fn a_line_that_is_no_pair_is_named() -> Result<()> {
    for (line, problem) in [
        ("box,0,1,NVLINK,25", "`NVLINK` is no link"),
        ("box,0,1,PIX,fast", "`fast` is no bandwidth"),
        ("box,0,1", "expected five fields"),
        ("box,0,1,PIX,24\nbox,0,2,PIX,24", "a pair is missing"),
        ("box,0,1,PIX,24\nbox,1,0,PIX,24", "a pair stands there once"),
    ] {
        let path = written("broken-boxes", &format!("{HEADER}{line}\n"))?;
        let error = bench_topology(&path, 1).err().with_context(|| line.to_owned())?.to_string();
        ensure!(error.contains(problem), "{line}: {error}");
    }
    Ok(())
}

#[test]
fn bench_tpu_stays_below_the_bound_and_ahead_of_first_fit() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_gangplank")).args(["bench", "tpu", "--seeds=9001..9006", "-o", "json"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    for pod in ["v5e-16x16", "v5p-16x16x24"] {
        let figure = |run: &Value, name: &str| run[name].as_f64().unwrap_or(f64::NAN);
        let pod = &report["pods"][pod];
        let runs: Vec<&Value> = pod["runs"].as_object().into_iter().flat_map(|runs| runs.values()).chain([pod]).collect();
        ensure!(runs.len() == 10, "{pod}");
        for run in &runs {
            let (ours, bound) = (figure(run, "chips_used_at_first_refusal"), figure(run, "bound"));
            ensure!(ours > 0.0 && ours <= bound && bound <= figure(pod, "chips"), "{run}");
        }
        let sum = |name| runs.iter().map(|run| figure(run, name)).sum::<f64>();
        ensure!(sum("chips_used_at_first_refusal") > sum("first_fit"), "{pod}");
    }
    Ok(())
}
