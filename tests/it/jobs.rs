//! `gangplank bench muri` and `bench philly` as people run them, and what of the published figures our code reproduces.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Traces of our own making, of the form of the published ones.
fn own(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobs").join(file)
}

fn bench(name: &str, trace: &Path, more: &[&str]) -> Result<(String, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    let output = command.args(["bench", name, "-ojson", "--trace"]).arg(trace).args(more).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let report = serde_json::from_str(&text)?;
    Ok((text, report))
}

/// A published trace, where it lies beside the project.
fn published(file: &str) -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("GANGPLANK_DATA").map_or(data, PathBuf::from).join("gang").join(file);
    if path.is_file() {
        return Some(path);
    }
    let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: {} is not there; only traces of our own were tried ====\n", path.display());
    None
}

fn figure(report: &Value, order: &str, figure: &str) -> Result<f64> {
    report["orders"][order][figure].as_f64().with_context(|| format!("{order}, {figure}: {report}"))
}

#[test]
fn bench_muri_prints_every_order_and_the_same_trace_gives_the_same_bytes() -> Result<()> {
    let (text, report) = bench("muri", &own("muri.csv"), &[])?;
    ensure!(report["trace"] == "muri" && report["restart_s"] == 30 && report["jobs"] == 120, "{report}");
    for order in report["orders"].as_object().context("orders")?.keys() {
        for name in ["jct_avg_s", "jct_p99_s", "makespan_s", "wait_max_s"] {
            ensure!(figure(&report, order, name)? > 0.0, "{order}, {name}: {report}");
        }
        ensure!(figure(&report, order, "never_ended")? == 0.0, "{order}: {report}");
    }
    ensure!(bench("muri", &own("muri.csv"), &[])?.0 == text);
    Ok(())
}

#[test]
fn our_default_order_is_not_behind_first_come_first_served_with_backfill() -> Result<()> {
    let (_, report) = bench("muri", &own("muri.csv"), &["--order=default,fifo-backfill,fifo"])?;
    let [ours, backfill, strict] = ["default", "fifo-backfill", "fifo"].map(|order| figure(&report, order, "jct_avg_s"));
    let (ours, backfill, strict) = (ours?, backfill?, strict?);
    ensure!(ours <= backfill * 1.01 && backfill < strict, "{report}");
    Ok(())
}

#[test]
fn bench_philly_tells_waits_beside_first_come_first_served() -> Result<()> {
    let (_, report) = bench("philly", &own("philly.csv"), &["--nodes=4"])?;
    let wait = |order| figure(&report, order, "wait_avg_s");
    ensure!(report["jobs"] == 150 && wait("fifo")? > wait("default")?, "{report}");
    Ok(())
}

#[test]
fn a_trace_that_makes_no_sense_is_refused_with_its_line() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_gangplank")).args(["bench", "philly", "--trace"]).arg(own("muri.csv")).output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && told.contains("no column `timestamp`") && told.contains("line 1"), "{told}");
    Ok(())
}

/// On counts it takes a moment in any build; the engine is measured by the same figures where time allows.
#[test]
fn the_orders_on_counts_stay_within_the_published_completion_times() -> Result<()> {
    for name in ["trace1", "trace1_pr", "trace3", "trace3_pr"] {
        let Some(trace) = published(&format!("muri/{name}.csv")) else { return Ok(()) };
        let (_, report) = bench("muri", &trace, &["--order=counts-srtf,counts-srsf,counts-las"])?;
        for order in ["counts-srtf", "counts-srsf", "counts-las"] {
            let ratio = report["orders"][order]["published"]["ratio"].as_f64().with_context(|| format!("{name}, {order}: {report}"))?;
            ensure!(ratio <= 1.0, "{name}, {order}: {ratio} of the published average");
        }
    }
    Ok(())
}

#[test]
fn on_a_published_trace_our_default_order_is_not_behind_first_come_first_served_with_backfill() -> Result<()> {
    let Some(trace) = published("muri/trace3.csv") else { return Ok(()) };
    let (_, report) = bench("muri", &trace, &["--order=default,fifo-backfill"])?;
    let (ours, fifo) = (figure(&report, "default", "jct_avg_s")?, figure(&report, "fifo-backfill", "jct_avg_s")?);
    ensure!(ours <= fifo, "{ours} against {fifo}");
    Ok(())
}
