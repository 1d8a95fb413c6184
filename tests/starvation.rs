//! A gang that needs half of a full cluster, while small jobs keep coming faster than they end. Without kept room it may wait for
//! ever. With it, its wait has two parts, each with a bound: until it has waited as long as the profile says, was passed, and time was
//! told once more; and from then on until the last of those has ended who ran at that moment. Nobody is evicted, so that no grace
//! comes on top. A fixed share of seeds always, 1,000 with GANGPLANK_LONG=1.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
const GANG_RUNS_S: u64 = 600;
const PATIENCE_S: u64 = 3600;
/// A gang waits so many times as long as its owner says that it runs.
const STRETCH: u64 = 10;
/// So often it is looked who has waited too long, if anything happens at all.
const LOOK_S: u64 = 30;
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
    let mut jobs = vec![job("gang".into(), 8, GANG_COMES_S, GANG_RUNS_S)];
    let mut now_s = 0;
    while now_s < ARRIVALS_END_S {
        jobs.push(job(format!("small-{}", jobs.len()), 1, now_s, exponential(RUNS_S)));
        now_s += exponential(RUNS_S / LOAD / CLUSTER.gpus() as f64);
    }
    let trace = Trace::new(jobs);
    let gang = trace.jobs.iter().position(|job| &*job.name == "gang").expect("the gang is among them");
    (trace, gang)
}

/// What came of a trace, and when room began to be kept for the gang.
fn came(trace: &Trace, gang: usize, patience_s: Option<u64>) -> (Figures, Option<u64>) {
    let profile = Profile { keep_room_after: patience_s.map(Duration::from_secs), ..Profile::shipped() };
    let mut ours = Gangplank::new(CLUSTER, trace, Arc::new(profile), None);
    let figures = run(CLUSTER, trace, 30, &mut ours).expect("no move breaks the rules");
    assert_eq!((figures.never_ended, ours.violations()), (0, Vec::new()));
    let kept_s = ours.room_kept_s(gang);
    (figures, kept_s)
}

/// The small jobs: when each came, began and ended.
fn small<'a>(trace: &'a Trace, figures: &'a Figures) -> impl Iterator<Item = (u64, u64, u64)> {
    let spans = trace.jobs.iter().zip(&figures.spans_s).filter(|(job, _)| job.gpus == 1);
    spans.filter_map(|(job, span)| span.map(|(began_s, ended_s)| (job.arrives_s, began_s, ended_s)))
}

/// Until when room must be kept for it, if it has not started: it has waited long enough, one that came later has started, and
/// then something happened at which it is looked again.
fn kept_by_s(trace: &Trace, figures: &Figures, says: bool) -> u64 {
    let passed_s = small(trace, figures).filter(|(came_s, ..)| *came_s > GANG_COMES_S).map(|(_, began_s, _)| began_s).min();
    let patience_s = if says { PATIENCE_S.max(STRETCH * GANG_RUNS_S) } else { PATIENCE_S };
    let due_s = passed_s.map_or(u64::MAX, |passed_s| passed_s.max(GANG_COMES_S + patience_s));
    let events = small(trace, figures).flat_map(|(came_s, _, ended_s)| [came_s, ended_s]);
    events.filter(|at_s| *at_s >= due_s.saturating_add(LOOK_S)).min().unwrap_or(u64::MAX)
}

/// When the last of those has ended who run at this moment.
fn all_ended_s(trace: &Trace, figures: &Figures, at_s: u64) -> u64 {
    small(trace, figures).filter(|(_, began_s, _)| *began_s <= at_s).map(|(.., ended_s)| ended_s).max().unwrap_or(at_s).max(at_s)
}

/// How much of the cluster was in use while jobs kept coming and the gang was there, in percent.
fn in_use_pct(trace: &Trace, figures: &Figures) -> f64 {
    let within = |at_s: u64| at_s.clamp(GANG_COMES_S, ARRIVALS_END_S);
    let held = trace.jobs.iter().zip(&figures.spans_s).filter_map(|(job, span)| {
        let (began_s, ended_s) = (*span)?;
        Some(u64::from(job.gpus) * (within(ended_s) - within(began_s)))
    });
    100.0 * held.sum::<u64>() as f64 / (CLUSTER.gpus() * (ARRIVALS_END_S - GANG_COMES_S)) as f64
}

/// What came of one seed.
struct Came {
    waited_s: u64,
    in_use_pct: f64,
    /// Without kept room: whether it waited until nobody came any more, and how much was in use.
    starved: bool,
    in_use_without_pct: f64,
}

fn seed_came(seed: u64, says: bool) -> Came {
    let (mut trace, gang) = trace(seed);
    trace.jobs.iter_mut().for_each(|job| job.expected_s = says.then_some(job.runs_s));
    let (figures, kept_s) = came(&trace, gang, Some(PATIENCE_S));
    let (start_s, _) = figures.spans_s[gang].expect("it started");
    let kept_by_s = kept_by_s(&trace, &figures, says);
    match kept_s {
        Some(kept_s) => {
            assert!(kept_s <= kept_by_s, "seed {seed}: room is kept from {kept_s} s on, the bound is {kept_by_s} s");
            let bound_s = all_ended_s(&trace, &figures, kept_s);
            assert!(start_s <= bound_s, "seed {seed}: it started at {start_s} s, all had ended at {bound_s} s");
        }
        None => assert!(start_s <= kept_by_s, "seed {seed}: no room was kept until {start_s} s, the bound is {kept_by_s} s"),
    }
    let (without, _) = came(&trace, gang, None);
    Came {
        waited_s: start_s - GANG_COMES_S,
        in_use_pct: in_use_pct(&trace, &figures),
        starved: without.spans_s[gang].is_none_or(|(start_s, _)| start_s >= ARRIVALS_END_S),
        in_use_without_pct: in_use_pct(&trace, &without),
    }
}

/// Every seed, on all cores.
fn seeds_came(seeds: u64, says: bool) -> Vec<Came> {
    let (next, all) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds) {
                    let came = seed_came(seed, says);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(came);
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn a_gang_starts_within_its_bound(says: bool) {
    let seeds = if std::env::var_os("GANGPLANK_LONG").is_some() { 1000 } else { 20 };
    let mut came = seeds_came(seeds, says);
    came.sort_by_key(|came| came.waited_s);
    let mean = |of: fn(&Came) -> f64| came.iter().map(of).sum::<f64>() / came.len() as f64;
    let starved = came.iter().filter(|came| came.starved).count();
    let told = format!(
        "{seeds} seeds, owners {} how long they run: waited {} s in the median, {} s at most; {:.2} % of the cluster in use, {:.2} % where no room is \
         kept, and there {starved} waited until nobody came any more",
        if says { "say" } else { "do not say" },
        came[came.len() / 2].waited_s,
        came[came.len() - 1].waited_s,
        mean(|came| came.in_use_pct),
        mean(|came| came.in_use_without_pct),
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(starved * 2 > came.len(), "a test that cannot fail: {starved} of {seeds} starved without kept room");
}

#[test]
fn a_gang_of_half_the_cluster_starts_within_its_bound_under_small_jobs_without_end() {
    a_gang_starts_within_its_bound(false);
}

#[test]
fn who_says_that_it_ends_before_goes_first_and_never_moves_the_start_of_the_gang() {
    a_gang_starts_within_its_bound(true);
}
