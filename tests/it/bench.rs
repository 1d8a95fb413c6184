//! Benchmarks run and print the shape that others read; no test asserts a time.

use std::process::Command;

use anyhow::{Result, ensure};
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
