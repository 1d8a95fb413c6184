//! Random fault schedules over the whole simulated cluster, and the museum of mistakes that they must catch
//! (docs/simulation.md). A share of the seeds runs always; `GANGPLANK_LONG=1` runs 10,000 of each kind on all cores.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use gangplank::sim::faults::{Broken, Flaw, Options, RIVALRY_FROM, Report, museum, run, shrink};

/// Seeds of the share, and of the whole, of each kind: without rivalry for room, and with it.
const SHARE: u64 = 100;
const WHOLE: u64 = 10_000;
/// Seeds among which another one is looked for that catches a mistake, where its own does not any more.
const HUNTED: u64 = 600;

fn is_long() -> bool {
    std::env::var_os("GANGPLANK_LONG").is_some()
}

/// What to type to see a run again.
fn command(seed: u64, flaw: Option<Flaw>, without: &BTreeSet<usize>) -> String {
    let flaw = flaw.map(|flaw| format!(" GANGPLANK_FLAW={flaw:?}")).unwrap_or_default();
    let list: Vec<String> = without.iter().map(ToString::to_string).collect();
    let without = if list.is_empty() { String::new() } else { format!(" GANGPLANK_WITHOUT={}", list.join(",")) };
    format!("GANGPLANK_SEED={seed}{flaw}{without} cargo test --release --no-default-features --test faults replay -- --nocapture")
}

/// The failure with as little around it as possible, and how to see it again.
fn told(broken: &Broken, flaw: Option<Flaw>) -> String {
    let (smallest, without) = shrink(broken, &Options { flaw, ..Options::default() });
    format!("{smallest}\nsee it again: {}\n", command(broken.seed, flaw, &without))
}

/// Runs seeds on all cores; the failures, lowest seed first, and how many were decided to go for others, in how many decisions.
fn storm(seeds: std::ops::Range<u64>, options: &Options, enough: usize) -> (Vec<Broken>, [u64; 2]) {
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failed: Mutex<Vec<Broken>> = Mutex::default();
    let went = [AtomicU64::new(0), AtomicU64::new(0)];
    let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || lock().len() >= enough {
                        return;
                    }
                    match run(seed, options) {
                        Ok(Report { victims, decisions, .. }) => {
                            went[0].fetch_add(victims, Ordering::Relaxed);
                            went[1].fetch_add(decisions, Ordering::Relaxed);
                        }
                        Err(broken) => lock().push(*broken),
                    }
                }
            });
        }
    });
    let mut failed = std::mem::take(&mut *lock());
    failed.sort_by_key(|broken| broken.seed);
    (failed, went.map(AtomicU64::into_inner))
}

#[test]
fn no_schedule_of_faults_breaks_a_promise() {
    none_breaks(0);
    eprintln!("{} schedules, 0 violations", count());
}

#[test]
fn no_schedule_with_preemption_queues_and_repair_breaks_a_promise() {
    let [victims, decisions] = none_breaks(RIVALRY_FROM);
    eprintln!("{} schedules, {victims} victims of {decisions} decisions, 0 violations", count());
    assert!(victims > decisions && decisions > count(), "who rivals for nothing proves nothing");
}

/// How many seeds of each kind are run.
fn count() -> u64 {
    if is_long() { WHOLE } else { SHARE }
}

/// Runs as many seeds from there on; how many pods were to go for others, in how many decisions.
fn none_breaks(from: u64) -> [u64; 2] {
    let (failed, went) = storm(from..from + count(), &Options::default(), 3);
    if let Some(first) = failed.first() {
        let others: Vec<String> = failed.iter().skip(1).map(|broken| format!("seed {}: {}", broken.seed, broken.invariant)).collect();
        panic!("\n{}others: {others:?}", told(first, None));
    }
    went
}

#[test]
fn the_same_seed_decides_the_same() {
    for seed in (0..SHARE).step_by(20).chain((RIVALRY_FROM..RIVALRY_FROM + SHARE).step_by(20)) {
        let (first, second) = (run(seed, &Options::default()), run(seed, &Options::default()));
        assert_eq!(first, second, "seed {seed}");
    }
}

/// A simulator that does not catch mistakes proves nothing by finding none.
#[test]
fn every_mistake_of_the_museum_is_caught_and_nothing_without_it() {
    assert!(museum::ALL.len() >= 25 && Flaw::ALL.iter().all(|flaw| museum::ALL.iter().any(|piece| piece.flaw == *flaw)));
    for piece in museum::ALL {
        let with = Options { flaw: Some(piece.flaw), ..Options::default() };
        let most = if is_long() { WHOLE } else { HUNTED };
        let seeds = std::iter::once(piece.seed).chain(0..most).chain(RIVALRY_FROM..RIVALRY_FROM + most);
        let Some(seed) = seeds.into_iter().find(|seed| run(*seed, &with).is_err()) else {
            panic!("{:?} is not caught any more: {}", piece.flaw, hunt(piece.flaw));
        };
        if seed != piece.seed {
            eprintln!("{:?} is caught at seed {seed} by now: note it in the museum and in docs/simulation.md", piece.flaw);
        }
        if let Err(broken) = run(seed, &Options::default()) {
            panic!("\nwithout any mistake: {}", told(&broken, None));
        }
    }
}

/// How to find another seed that catches a mistake.
fn hunt(flaw: Flaw) -> String {
    format!(
        "GANGPLANK_FLAW={flaw:?} GANGPLANK_SEEDS=0-{} cargo test --release --no-default-features --test faults survey -- --nocapture",
        RIVALRY_FROM + WHOLE
    )
}

/// The table of docs/simulation.md has a row for each piece, with its seed.
#[test]
fn the_museum_is_documented() {
    let text = include_str!("../docs/simulation.md");
    for piece in museum::ALL {
        let row = format!("| `{:?}` | {} | {} |", piece.flaw, piece.seen, piece.seed);
        assert!(text.contains(&row), "docs/simulation.md lacks the row\n{row}");
    }
}

/// Nothing by itself: `GANGPLANK_SEEDS=FROM-TO` lists what breaks in these runs, with `GANGPLANK_FLAW` to find a seed for the museum.
#[test]
fn survey() {
    let Ok(seeds) = std::env::var("GANGPLANK_SEEDS") else { return };
    let (from, to) = seeds.split_once('-').map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap())).unwrap();
    let began = std::time::Instant::now();
    let enough = if flaw().is_some() { 4 } else { usize::MAX };
    let (failed, [victims, decisions]) = storm(from..to, &Options { flaw: flaw(), ..Options::default() }, enough);
    for broken in &failed {
        eprintln!("{broken}");
    }
    eprintln!("{} of {} broke something, {victims} victims of {decisions} decisions, {:?}", failed.len(), to - from, began.elapsed());
}

fn flaw() -> Option<Flaw> {
    let name = std::env::var("GANGPLANK_FLAW").ok()?;
    Some(*Flaw::ALL.iter().find(|flaw| format!("{flaw:?}") == name).unwrap_or_else(|| panic!("no flaw is called {name}")))
}

/// Nothing by itself: `GANGPLANK_SEED` names the run, and what a failing test prints says what to type.
#[test]
fn replay() {
    let Ok(seed) = std::env::var("GANGPLANK_SEED") else { return };
    let without = std::env::var("GANGPLANK_WITHOUT").unwrap_or_default();
    let without = without.split(',').filter(|place| !place.is_empty()).map(|place| place.parse().unwrap()).collect();
    match run(seed.parse().unwrap(), &Options { flaw: flaw(), without, trace: true }) {
        Ok(report) => eprintln!("everything held: {report:#?}"),
        Err(broken) => panic!("\n{broken}"),
    }
}
