//! What a queue is guaranteed it has as if it were alone: of many jobs of three queues none waits because of another queue.
//! One that waits because of jobs that its own queue started earlier is counted apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::shop::{Coming, Shop};

const NAMESPACES: [&str; 3] = ["one", "two", "three"];
/// Of each.
const GUARANTEED: u32 = 16;
/// Victims are gone at once here, and the planner needs two looks.
const CYCLES_S: u64 = 2;

/// Jobs of a namespace, each with its name and when it comes: by turns more than its guarantee can do, and less.
fn jobs(seed: u64, count: usize, gpus: u32) -> Vec<(u64, String, Coming)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut jobs = Vec::new();
    for namespace in NAMESPACES {
        let mut at_s = 0;
        for index in 0..count / NAMESPACES.len() {
            let runs_s = random.random_range(60..=1200);
            // A job of one GPU every 40 s is the guarantee; for two hours more than that comes, for two far less.
            let every_s = if (at_s / 7200 + namespace.len() as u64).is_multiple_of(2) { 25 } else { 160 };
            at_s += random.random_range(0..=2 * every_s * u64::from(gpus));
            jobs.push((at_s, format!("{namespace}-{index}"), Coming { namespace, gpus, runs_s }));
        }
    }
    jobs.sort_by(|(a, x, _), (b, y, _)| (a, x).cmp(&(b, y)));
    jobs
}

/// When each job starts for the first time; after every look `check` sees the state.
fn run(nodes: usize, queues: &str, jobs: &[(u64, String, Coming)], mut check: impl FnMut(&Shop)) -> (BTreeMap<Arc<str>, u64>, u32) {
    let mut shop = Shop::new(nodes, queues);
    let mut coming = jobs.iter().peekable();
    loop {
        let next_s = coming.peek().map(|(at_s, ..)| *at_s).into_iter().chain(shop.next_end_s()).min();
        let Some(at_s) = next_s else { break };
        shop.pass_to(at_s);
        while let Some((_, name, job)) = coming.next_if(|(due_s, ..)| *due_s <= at_s) {
            shop.comes(name, job);
        }
        shop.settle();
        check(&shop);
    }
    assert_eq!(shop.engine.violations(), []);
    (shop.first_s, shop.evictions)
}

fn check(seed: u64, count: usize, gpus: u32) {
    let jobs = jobs(seed, count, gpus);
    let list = NAMESPACES.map(|name| {
        format!("{{name: {name}, namespaces: {{matchNames: [{name}]}}, guaranteed: [{{class: nvidia-gpu, devices: {GUARANTEED}}}]}}")
    });
    let queues = format!("{{list: [{}]}}", list.join(", "));
    let (together, evictions) = run(6, &queues, &jobs, |shop| {
        for namespace in NAMESPACES {
            let (held, smallest) = shop.held_and_waiting(namespace);
            let fits = smallest.is_some_and(|gpus| held + gpus <= GUARANTEED);
            assert!(!fits, "{namespace} holds {held}, and its job waits because of another queue at {} s", shop.now_s);
        }
    });
    let mut own = 0;
    for namespace in NAMESPACES {
        let mine: Vec<_> = jobs.iter().filter(|(_, _, job)| job.namespace == namespace).cloned().collect();
        let (alone, _) = run(2, "{}", &mine, |_| {});
        own += alone.iter().filter(|(name, at_s)| together[*name] > *at_s + CYCLES_S).count();
    }
    let waited = |started: &BTreeMap<Arc<str>, u64>| -> u64 { jobs.iter().map(|(at_s, name, _)| started[&**name] - at_s).sum() };
    eprintln!(
        "{count} jobs of {gpus}: none late because of another queue, {own} because of earlier starts of their own queue; {} s mean wait, {evictions} evictions",
        waited(&together) / count as u64
    );
    assert_eq!(together.len(), jobs.len());
    assert!(evictions > 0, "a run in which nothing is taken back shows nothing");
}

/// All of it with `GANGPLANK_LONG=1`.
fn share(count: usize) -> usize {
    if std::env::var_os("GANGPLANK_LONG").is_some() { count } else { count / 10 }
}

#[test]
fn no_job_of_one_gpu_waits_because_of_another_queue() {
    check(1, share(9999), 1);
}

#[test]
fn no_job_of_a_whole_box_waits_because_of_another_queue() {
    check(2, share(9999), 8);
}
