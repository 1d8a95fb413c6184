//! How fast pods come to be bound, beside the same kube-scheduler without us: a gang against as many plain pods, and many
//! single pods. Arms alternate on one control plane with KWOK nodes; while one runs, the processes of the others are not
//! there. It prints what it saw and asserts that everybody was bound, never how fast.
//!
//! All pods exist, gated, before the clock starts. A gang starts with its last member's creation. Other pods carry a gate of
//! the test's own, which one parallel burst takes away in every arm; the clock starts with it. With our gate beside it, that
//! is one write more than anybody pays in earnest: pods that carry our gate alone go as they come, and their clock starts
//! with the last creation. The clock ends when the last Binding is seen.

mod arms;
mod figures;

use anyhow::Result;
use arms::{Arm, Bench, Pods};
use figures::Table;

use crate::support::installed::Installed;
use crate::support::{ControlPlane, Options};

/// How many pods over how many nodes, and how often.
#[derive(Clone, Copy, Debug)]
struct Scale {
    pods: usize,
    nodes: u32,
    runs: usize,
}

/// The whole with `GANGPLANK_LONG=1`, a share otherwise; `GANGPLANK_SCALE=PODS,NODES,RUNS` for anything else.
fn scale(share: Scale, whole: Scale) -> Scale {
    let wanted = std::env::var("GANGPLANK_SCALE").ok();
    let numbers: Vec<usize> = wanted.iter().flat_map(|text| text.split(',')).filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [pods, nodes, runs] => Scale { pods, nodes: u32::try_from(nodes).unwrap_or(u32::MAX), runs },
        _ if std::env::var_os("GANGPLANK_LONG").is_some() => whole,
        _ => share,
    }
}

#[expect(clippy::print_stderr, reason = "figures are what it is for")]
async fn compare(title: &str, scale: Scale, arms: &[(Arm, Pods)]) -> Result<()> {
    let options = Options { nodes: scale.nodes, scheduler_config_yaml: Some(arms::STOCK.to_owned()), ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip(title, &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    Installed::install(&client).await?;
    let bench = Bench::new(&control_plane, client).await?;
    let mut table = Table::new(title, scale.pods, scale.nodes);
    for run in 0..scale.runs {
        for (arm, pods) in arms {
            let seen = bench.run(*arm, *pods, scale.pods, run).await?;
            eprintln!("run {run}: {}", Table::line(arm.name(*pods), &seen));
            table.add(arm.name(*pods), seen);
        }
    }
    eprintln!("{table}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_and_as_many_plain_pods_are_all_bound() -> Result<()> {
    let scale = scale(Scale { pods: 24, nodes: 8, runs: 1 }, Scale { pods: 512, nodes: 500, runs: 5 });
    compare("a gang against plain pods", scale, &[(Arm::Stock, Pods::Single), (Arm::Planned, Pods::Gang)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_single_pods_are_all_bound_in_every_lane() -> Result<()> {
    let scale = scale(Scale { pods: 48, nodes: 8, runs: 1 }, Scale { pods: 5000, nodes: 1000, runs: 3 });
    let planned = [Pods::AllThere, Pods::Single, Pods::AsTheyCome].map(|pods| (Arm::Planned, pods));
    let arms = [&[(Arm::Stock, Pods::Single)], &planned[..], &[(Arm::WithoutAdmission, Pods::Single)]].concat();
    compare("single pods", scale, &arms).await
}
