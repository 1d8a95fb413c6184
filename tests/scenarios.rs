//! Scenarios: prose, a cluster, workloads, and what comes of it, in one Markdown file each (tests/scenarios/*.md).
//!
//! A file has the code blocks `yaml cluster`, `yaml workloads` (once or more), `text placements`, and optionally
//! `yaml profile` and `text seed`. `UPDATE=1 cargo test --test scenarios` rewrites the placements; the diff is the review.
#![cfg(feature = "io")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use gangplank::cli::simulate::simulate;
use gangplank::policy::Profile;
use gangplank::wire::manifest;

#[path = "scenarios/blocks.rs"]
mod blocks;
use blocks::{Block, blocks};

#[test]
fn scenarios_come_out_as_they_are_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let blocks = blocks(&text);
        let expected =
            blocks.iter().find(|block| block.kind == "text placements").unwrap_or_else(|| panic!("{name}: no block `text placements`"));
        let actual = run(&name, &blocks);
        assert_eq!(actual, run(&name, &blocks), "{name}: the same input gave another outcome the second time");
        if actual == expected.body {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, format!("{}{actual}{}", &text[..expected.start], &text[expected.start + expected.body.len()..])).unwrap();
        } else {
            wrong.push(format!("--- {name}, written\n{}--- {name}, now\n{actual}", expected.body));
        }
    }
    assert!(wrong.is_empty(), "if what is now is right: UPDATE=1 cargo test --test scenarios\n{}", wrong.join("\n"));
}

fn run(name: &str, blocks: &[Block<'_>]) -> String {
    let of = |kind: &str| blocks.iter().filter(|block| block.kind == kind).map(|block| block.body).collect::<Vec<_>>();
    let documents = |kind: &str| manifest::read(name, &of(kind).join("---\n")).unwrap_or_else(|error| panic!("{error}"));
    let profile = of("yaml profile").first().map_or_else(Profile::shipped, |yaml| Profile::parse(yaml).unwrap());
    let seed = of("text seed").first().map_or(0, |seed| seed.trim().parse().unwrap());
    let outcome =
        simulate(documents("yaml cluster"), documents("yaml workloads"), profile, seed).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    render(&serde_json::to_value(&outcome.report).unwrap())
}

/// One line a pod: short enough to review, with everything that was decided.
fn render(report: &serde_json::Value) -> String {
    let mut out = String::new();
    for placement in report["placements"].as_array().unwrap() {
        let _ = write!(out, "{} -> {}", text(&placement["pod"]), text(&placement["node"]));
        for (container, devices) in placement["devices"].as_object().unwrap() {
            let device = |device: &serde_json::Value| match device["milli"].as_u64() {
                Some(milli) => format!("{}:{milli}m", text(&device["id"])),
                None => text(&device["id"]).to_owned(),
            };
            let _ = write!(out, "  {container}={}", devices.as_array().unwrap().iter().map(device).collect::<Vec<_>>().join(","));
        }
        if let Some(rank) = placement["rank"].as_u64() {
            let _ = write!(out, "  rank {rank}");
        }
        out.push('\n');
    }
    for eviction in report["evictions"].as_array().unwrap() {
        let _ = writeln!(out, "{} goes for {}\n    {}", text(&eviction["pod"]), text(&eviction["for"]), text(&eviction["reason"]));
    }
    for pending in report["pending"].as_array().unwrap() {
        let _ = writeln!(out, "{} waits: {}\n    {}", text(&pending["pod"]), text(&pending["reason"]), text(&pending["message"]));
        if let Some(remedy) = pending["remedy"].as_str() {
            let _ = writeln!(out, "    remedy: {remedy}");
        }
    }
    out
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or("?")
}
