//! A gang that needs half of a full cluster, while small jobs keep coming faster than they end: without kept room it may wait for
//! ever, with it the gang starts as soon as those have ended who ran when its time had come. A fixed share of seeds always, 1,000
//! with GANGPLANK_LONG=1.

use std::sync::Arc;
use std::time::Duration;

use gangplank::policy::Profile;
use gangplank::sim::jobs::{Cluster, Figures, Gangplank, Job, Trace, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const CLUSTER: Cluster = Cluster { nodes: 4, node_gpus: 4 };
/// How long small jobs run, on average; of 16 GPUs they ask for 1.1 times as much as there is.
const RUNS_S: f64 = 3600.0;
const LOAD: f64 = 1.1;
const GANG_COMES_S: u64 = 4 * 3600;
const PATIENCE_S: u64 = 3600;
const ARRIVALS_END_S: u64 = 24 * 3600;

/// Small jobs of one GPU, and the gang among them, at its place.
fn trace(seed: u64) -> (Trace, usize) {
    let mut dice = StdRng::seed_from_u64(seed);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
    let mut exponential = |mean: f64| (-mean * (1.0 - dice.random::<f64>()).ln()).ceil() as u64;
    let job = |name: String, gpus, arrives_s, runs_s| Job {
        name: name.into(),
        namespace: "ns".into(),
        gpus,
        arrives_s,
        runs_s,
        expected_s: None,
        priority: 0,
    };
    let mut jobs = vec![job("gang".into(), 8, GANG_COMES_S, 3600)];
    let mut now_s = 0;
    while now_s < ARRIVALS_END_S {
        jobs.push(job(format!("small-{}", jobs.len()), 1, now_s, exponential(RUNS_S)));
        now_s += exponential(RUNS_S / LOAD / CLUSTER.gpus() as f64);
    }
    let trace = Trace::new(jobs);
    let gang = trace.jobs.iter().position(|job| &*job.name == "gang").expect("the gang is among them");
    (trace, gang)
}

fn came(trace: &Trace, patience_s: Option<u64>) -> Figures {
    let profile = Profile { keep_room_after: patience_s.map(Duration::from_secs), ..Profile::shipped() };
    let mut ours = Gangplank::new(CLUSTER, trace, Arc::new(profile), None);
    let figures = run(CLUSTER, trace, 30, &mut ours).expect("no move breaks the rules");
    assert_eq!((figures.never_ended, ours.violations()), (0, Vec::new()));
    figures
}

/// When its time has come: it has waited long enough, and one that came later has started.
fn due_s(trace: &Trace, figures: &Figures) -> u64 {
    let later = trace.jobs.iter().zip(&figures.spans_s).filter(|(job, _)| job.gpus == 1 && job.arrives_s > GANG_COMES_S);
    let passed_s = later.filter_map(|(_, span)| span.map(|(began_s, _)| began_s)).min().unwrap_or(0);
    passed_s.max(GANG_COMES_S + PATIENCE_S)
}

/// When those have ended who ran when the planner next looked after that, which is when a job has ended.
fn bound_s(trace: &Trace, figures: &Figures) -> u64 {
    let due_s = due_s(trace, figures);
    let spans = || trace.jobs.iter().zip(&figures.spans_s).filter(|(job, _)| job.gpus == 1).filter_map(|(_, span)| *span);
    let kept_s = spans().map(|(_, ended_s)| ended_s).filter(|at_s| *at_s > due_s).min().unwrap_or(due_s);
    spans().filter(|(began_s, _)| *began_s <= kept_s).map(|(_, ended_s)| ended_s).max().unwrap_or(kept_s)
}

/// GPU seconds that nobody had from when the gang's time had come to its start.
fn idle_gpu_s(trace: &Trace, figures: &Figures, start_s: u64) -> u64 {
    let from_s = due_s(trace, figures).min(start_s);
    let held = trace.jobs.iter().zip(&figures.spans_s).filter_map(|(job, span)| {
        let (began_s, ended_s) = (*span)?;
        Some(u64::from(job.gpus) * ended_s.min(start_s).saturating_sub(began_s.max(from_s)))
    });
    CLUSTER.gpus() * (start_s - from_s) - held.sum::<u64>()
}

#[test]
fn a_gang_of_half_the_cluster_starts_within_its_bound_under_small_jobs_without_end() {
    let seeds = if std::env::var_os("GANGPLANK_LONG").is_some() { 1000 } else { 20 };
    let (mut waits_s, mut idle, mut passed, mut starved) = (Vec::new(), 0, 0.0, 0);
    for seed in 0..seeds {
        let (trace, gang) = trace(seed);
        let figures = came(&trace, Some(PATIENCE_S));
        let (start_s, _) = figures.spans_s[gang].unwrap();
        let bound_s = bound_s(&trace, &figures);
        assert!(start_s <= bound_s, "seed {seed}: it started at {start_s} s, the bound is {bound_s} s");
        waits_s.push(start_s - GANG_COMES_S);
        idle += idle_gpu_s(&trace, &figures, start_s);
        passed += (start_s - GANG_COMES_S) as f64;
        let (without_s, _) = came(&trace, None).spans_s[gang].unwrap();
        starved += u32::from(without_s >= ARRIVALS_END_S);
    }
    waits_s.sort_unstable();
    let share = 100.0 * idle as f64 / (passed * CLUSTER.gpus() as f64);
    eprintln!(
        "{seeds} seeds: waited {} s median, {} s longest; {:.1} GPU hours idle for it each, {share:.1} % of the cluster meanwhile; without kept room \
         {starved} waited until nobody came any more",
        waits_s[waits_s.len() / 2],
        waits_s[waits_s.len() - 1],
        idle as f64 / 3600.0 / f64::from(u32::try_from(seeds).unwrap_or(u32::MAX)),
    );
    assert!(
        starved * 2 > u32::try_from(seeds).unwrap_or(u32::MAX),
        "a test that cannot fail: {starved} of {seeds} starved without kept room"
    );
}
