//! What queues give each other, over many jobs in virtual time: with endless demand each has its part by weight; what is taken back
//! leaves a queue what it is guaranteed, looked at with every job that is stopped; and no job waits because of another queue, against
//! the same jobs alone on as many devices as their queue is guaranteed. A fixed share of seeds always, all with GANGPLANK_LONG=1.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use gangplank::policy::Profile;
use gangplank::sim::jobs::{Arbiter, Cluster, Figures, Gangplank, Job, Move, Place, Progress, Trace, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const QUEUES: [&str; 3] = ["one", "two", "three"];
/// Of an eighth.
const WEIGHTS: [u64; 3] = [1, 2, 5];
/// Nodes of each queue's guarantee, and their GPUs.
const PART: Cluster = Cluster { nodes: 4, node_gpus: 8 };
const WHOLE: Cluster = Cluster { nodes: 12, node_gpus: 8 };
const RUNS_S: std::ops::RangeInclusive<u64> = 60..=1200;
/// So often it is looked again if nothing happens at all.
const LOOK_S: u64 = 30;
/// Who is stopped is gone at once here, so that no grace comes on top of two cycles.
const CYCLES_S: u64 = 2;

fn is_long() -> bool {
    std::env::var_os("GANGPLANK_LONG").is_some()
}

fn say(told: &str) {
    let _ = writeln!(std::io::stderr(), "{told}");
}

/// The built-in profile with three queues, each with these words.
fn profile(words: impl Fn(usize) -> String) -> Arc<Profile> {
    let queue = |at: usize| format!("{{name: {0}, namespaces: {{matchNames: [{0}]}}, {1}}}", QUEUES[at], words(at));
    let queues = format!("\nqueues: {{list: [{}, {}, {}]}}\naccelerators:", queue(0), queue(1), queue(2));
    Arc::new(Profile::parse(&Profile::DEFAULT_YAML.replace("\naccelerators:", &queues)).expect("a profile"))
}

fn guaranteed() -> Arc<Profile> {
    profile(|_| format!("guaranteed: [{{class: nvidia-gpu, devices: {}}}]", PART.gpus()))
}

fn queue_of(job: &Job) -> usize {
    QUEUES.iter().position(|name| *name == &*job.namespace).expect("a queue")
}

/// The engine, and what is seen of each queue from outside: from the moves alone.
#[derive(Debug)]
struct Watched<'a> {
    ours: Gangplank<'a>,
    trace: &'a Trace,
    held: [u64; 3],
    waiting: BTreeSet<usize>,
    /// Whether each queue is guaranteed its part, and the others are there.
    guaranteed: bool,
    /// GPU seconds of each queue from this moment on, until that one.
    counts_s: (u64, u64),
    had_gpu_s: [u64; 3],
    /// Seconds of those in which a queue had nobody waiting.
    idle_s: u64,
    /// By job, how long it waited although its queue's guarantee had room for it: while others could have made room, and while they
    /// could not without coming below their own.
    blocked_s: BTreeMap<usize, u64>,
    in_pieces_s: BTreeMap<usize, u64>,
    /// Where jobs run.
    places: BTreeMap<usize, Vec<Place>>,
    stops: usize,
    /// Moments after which a queue whose jobs were stopped had less than its guarantee.
    below: Vec<String>,
    now_s: u64,
}

impl<'a> Watched<'a> {
    fn new(cluster: Cluster, trace: &'a Trace, profile: Arc<Profile>, counts_s: (u64, u64)) -> Self {
        Self {
            ours: Gangplank::new(cluster, trace, profile, Some(LOOK_S)),
            trace,
            held: [0; 3],
            waiting: BTreeSet::new(),
            guaranteed: cluster.nodes == WHOLE.nodes && counts_s.0 == counts_s.1,
            counts_s,
            had_gpu_s: [0; 3],
            idle_s: 0,
            blocked_s: BTreeMap::new(),
            in_pieces_s: BTreeMap::new(),
            places: BTreeMap::new(),
            stops: 0,
            below: Vec::new(),
            now_s: 0,
        }
    }

    fn of(&self, job: usize) -> (usize, u64) {
        let job = &self.trace.jobs[job];
        (queue_of(job), job.gpus.into())
    }

    /// Nothing moved until now.
    fn pass_to(&mut self, now_s: u64) {
        let within = |at_s: u64| at_s.clamp(self.counts_s.0, self.counts_s.1);
        let (passed_s, counts_s) = (now_s - self.now_s, within(now_s) - within(self.now_s));
        self.now_s = now_s;
        if passed_s == 0 {
            return;
        }
        let asked: BTreeSet<usize> = self.waiting.iter().map(|job| self.of(*job).0).collect();
        self.idle_s += if asked.len() < QUEUES.len() { counts_s } else { 0 };
        for (had_gpu_s, held) in self.had_gpu_s.iter_mut().zip(self.held) {
            *had_gpu_s += held * counts_s;
        }
        for job in &self.waiting {
            let (queue, gpus) = self.of(*job);
            if self.guaranteed && self.held[queue] + gpus <= PART.gpus() {
                let counts = if self.could_have_room(*job) { &mut self.blocked_s } else { &mut self.in_pieces_s };
                *counts.entry(*job).or_default() += passed_s;
            }
        }
    }

    /// Whether there is a choice of other queues' jobs, each whole, without which a job would fit, and each queue have what it is guaranteed.
    fn could_have_room(&self, job: usize) -> bool {
        let (pods, each) = self.trace.jobs[job].pods(PART.node_gpus);
        let by_node: Vec<Vec<BTreeSet<usize>>> = (0..WHOLE.nodes).map(|node| self.ways(self.of(job).0, node, each)).collect();
        let pairs = || {
            by_node
                .iter()
                .enumerate()
                .flat_map(|(at, ways)| by_node[..at].iter().flatten().flat_map(move |one| ways.iter().map(move |two| one | two)))
        };
        match pods {
            1 => by_node.iter().flatten().any(|gone| self.can_spare(gone)),
            2 => pairs().any(|gone| self.can_spare(&gone)),
            _ => panic!("jobs of at most two pods"),
        }
    }

    /// Sets of other queues' jobs that leave so much free on a node.
    fn ways(&self, queue: usize, node: usize, gpus: u32) -> Vec<BTreeSet<usize>> {
        let on = |job: &usize| self.places[job].iter().filter(|place| place.node == node).map(|place| place.gpus).sum::<u32>();
        let there: Vec<usize> = self.places.keys().copied().filter(|job| on(job) > 0).collect();
        let free = PART.node_gpus - there.iter().map(on).sum::<u32>();
        let others: Vec<usize> = there.into_iter().filter(|job| self.of(*job).0 != queue).collect();
        let sets = (0..1_u32 << others.len())
            .map(|set| others.iter().enumerate().filter(move |(at, _)| set & 1 << at != 0).map(|(_, job)| *job).collect());
        sets.filter(|set: &BTreeSet<usize>| free + set.iter().map(on).sum::<u32>() >= gpus).collect()
    }

    fn can_spare(&self, gone: &BTreeSet<usize>) -> bool {
        let goes = |queue: usize| gone.iter().map(|job| self.of(*job)).filter(|(of, _)| *of == queue).map(|(_, gpus)| gpus).sum::<u64>();
        (0..QUEUES.len()).all(|queue| goes(queue) == 0 || self.held[queue] - goes(queue) >= PART.gpus())
    }
}

impl Arbiter for Watched<'_> {
    fn came(&mut self, now_s: u64, job: usize) {
        self.pass_to(now_s);
        self.waiting.insert(job);
        self.ours.came(now_s, job);
    }

    fn ended(&mut self, now_s: u64, job: usize) {
        self.pass_to(now_s);
        let (queue, gpus) = self.of(job);
        self.held[queue] -= gpus;
        self.places.remove(&job);
        self.ours.ended(now_s, job);
    }

    fn decide(&mut self, now_s: u64, progress: &Progress<'_>) -> Vec<Move> {
        self.pass_to(now_s);
        let moves = self.ours.decide(now_s, progress);
        let mut stopped = BTreeSet::new();
        for one in &moves {
            let (Move::Start(job, _) | Move::Stop(job)) = one;
            let (queue, gpus) = self.of(*job);
            if let Move::Start(_, places) = one {
                self.places.insert(*job, places.clone());
                self.waiting.remove(job);
                self.held[queue] += gpus;
                continue;
            }
            self.places.remove(job);
            self.waiting.insert(*job);
            self.held[queue] -= gpus;
            self.stops += 1;
            stopped.insert(queue);
        }
        for queue in stopped.into_iter().filter(|queue| self.held[*queue] < PART.gpus()) {
            self.below.push(format!("at {now_s} s jobs of {} are stopped, and it is left with {}", QUEUES[queue], self.held[queue]));
        }
        moves
    }

    fn looks_at_s(&self) -> Option<u64> {
        self.ours.looks_at_s()
    }
}

fn watch(cluster: Cluster, trace: &Trace, profile: Arc<Profile>, counts_s: (u64, u64)) -> (Watched<'_>, Figures) {
    let mut watched = Watched::new(cluster, trace, profile, counts_s);
    let figures = run(cluster, trace, 0, &mut watched).expect("no move breaks the rules");
    assert_eq!((figures.never_ended, watched.ours.violations()), (0, Vec::new()));
    (watched, figures)
}

fn job(name: String, queue: usize, gpus: u32, arrives_s: u64, runs_s: u64) -> Job {
    Job { name: name.into(), namespace: QUEUES[queue].into(), gpus, arrives_s, runs_s, expected_s: None, priority: 0 }
}

/// Endless demand: of each queue some jobs of every size wait, whatever started.
#[derive(Debug)]
struct Endless<'a> {
    watched: Watched<'a>,
    /// Jobs that the engine does not know of yet, by queue and GPUs.
    stock: BTreeMap<(usize, u64), Vec<usize>>,
    until_s: u64,
}

/// So many of each size.
const WAITING: usize = 5;

impl Arbiter for Endless<'_> {
    fn came(&mut self, _: u64, job: usize) {
        self.stock.entry(self.watched.of(job)).or_default().push(job);
    }

    fn ended(&mut self, now_s: u64, job: usize) {
        self.watched.ended(now_s, job);
    }

    fn decide(&mut self, now_s: u64, progress: &Progress<'_>) -> Vec<Move> {
        let mut moves = Vec::new();
        if now_s >= self.until_s {
            self.watched.pass_to(now_s);
            return moves;
        }
        loop {
            let waiting: Vec<(usize, u64)> = self.watched.waiting.iter().map(|job| self.watched.of(*job)).collect();
            for (kind, stock) in &mut self.stock {
                for _ in waiting.iter().filter(|waits| *waits == kind).count()..WAITING {
                    self.watched.came(now_s, stock.pop().expect("demand is endless"));
                }
            }
            let more = self.watched.decide(now_s, progress);
            if more.is_empty() {
                return moves;
            }
            moves.extend(more);
        }
    }

    fn looks_at_s(&self) -> Option<u64> {
        self.watched.looks_at_s().filter(|at_s| *at_s < self.until_s)
    }
}

/// The furthest that a queue is from its part in the last tenth, in percent of its part.
fn furthest_pct(seed: u64, cluster: Cluster, sizes: &[u32], hours: u64) -> f64 {
    let mut dice = StdRng::seed_from_u64(seed);
    let until_s = hours * 3600;
    let mut jobs = Vec::new();
    for (queue, gpus) in (0..QUEUES.len()).flat_map(|queue| sizes.iter().map(move |gpus| (queue, *gpus))) {
        // More than would end if the cluster was for these alone.
        for at in 0..cluster.gpus() * until_s / 900 / u64::from(gpus) {
            jobs.push(job(format!("{}-{gpus}-{at}", QUEUES[queue]), queue, gpus, 0, dice.random_range(300..=1800)));
        }
    }
    let trace = Trace::new(jobs);
    let counts_s = (until_s * 9 / 10, until_s);
    let watched = Watched::new(cluster, &trace, profile(|at| format!("weight: {}", WEIGHTS[at])), counts_s);
    let mut endless = Endless { watched, stock: BTreeMap::new(), until_s };
    let figures = run(cluster, &trace, 0, &mut endless).expect("no move breaks the rules");
    let mut watched = endless.watched;
    assert_eq!((watched.idle_s, figures.preemptions, watched.ours.violations()), (0, 0, Vec::new()), "seed {seed}");
    let all: u64 = watched.had_gpu_s.iter().sum();
    let parts = watched.had_gpu_s.iter().zip(WEIGHTS);
    let off: Vec<f64> = parts.map(|(had, weight)| 100.0 * (*had as f64 * 8.0 / (all * weight) as f64 - 1.0)).collect();
    let in_use = 100.0 * all as f64 / (cluster.gpus() * until_s / 10) as f64;
    say(&format!(
        "seed {seed}, {} jobs of {sizes:?} GPUs in {hours} h: one {:+.2} %, two {:+.2} %, three {:+.2} % off; {in_use:.1} % in use",
        figures.starts, off[0], off[1], off[2]
    ));
    off.into_iter().fold(0.0, |most, off| off.abs().max(most))
}

/// Where one job is more than the smallest queue's part, and may be a fifteenth of what that has in ten hours, it is measured for longer.
#[test]
fn queues_with_weights_1_2_5_and_endless_demand_have_their_parts_within_2_percent() {
    let whole: &[(&[u32], u64, u64)] = &[(&[1, 2, 4], 10, 100), (&[1, 2, 3, 4, 5, 6, 7, 8], 2, 300)];
    let share: &[(&[u32], u64, u64)] = &[(&[1, 2, 4], 1, 20)];
    let cluster = Cluster { nodes: 6, node_gpus: 8 };
    for (sizes, seeds, hours) in if is_long() { whole } else { share } {
        let furthest = (0..*seeds).map(|seed| furthest_pct(seed, cluster, sizes, *hours)).fold(0.0, f64::max);
        say(&format!("weights 1, 2, 5, {sizes:?} GPUs, {seeds} seeds: at most {furthest:.2} % from its part in the last tenth"));
        assert!(furthest <= 2.0, "{furthest} %");
    }
}

/// GPUs of the jobs of each queue.
type Sizes = [&'static [u32]; 3];

/// Jobs of each queue, by turns twice what its guarantee can do, and a quarter of it.
fn by_turns(seed: u64, sizes: Sizes, each: usize) -> Trace {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut jobs = Vec::new();
    for (queue, sizes) in sizes.iter().enumerate() {
        let mut at_s = 0;
        for index in 0..each {
            let (gpus, runs_s) = (sizes[dice.random_range(0..sizes.len())], dice.random_range(RUNS_S));
            jobs.push(job(format!("{}-{index}", QUEUES[queue]), queue, gpus, at_s, runs_s));
            let work_s = u64::from(gpus) * (RUNS_S.start() + RUNS_S.end()) / 2 / PART.gpus();
            let mean_s = if (index * 6 / each + queue).is_multiple_of(2) { work_s / 2 } else { work_s * 4 };
            at_s += dice.random_range(0..=2 * mean_s);
        }
    }
    Trace::new(jobs)
}

/// Jobs of each queue and seed.
const EACH: usize = 400;

/// What came of jobs of all queues together, against those of each queue alone on its part.
#[derive(Debug, Default)]
struct Came {
    jobs: usize,
    stops: usize,
    /// Jobs that waited longer than alone, by why: other queues' jobs held what could have been taken from them for longer than two
    /// cycles; what could be taken did not make a place; and the rest, jobs of their own queue had started earlier.
    late: [usize; 3],
    /// Of the first two the longest, with its seed and name.
    longest: [Option<(u64, u64, Arc<str>)>; 2],
    /// Waited in all, together and alone.
    waited_s: (u64, u64),
    /// As above.
    below: Vec<String>,
}

fn waits_s(trace: &Trace, figures: &Figures) -> BTreeMap<Arc<str>, u64> {
    let of = |(job, span): (&Job, &Option<(u64, u64)>)| {
        let (_, ended_s) = span.expect("it ended");
        (job.name.clone(), ended_s - job.arrives_s - job.runs_s)
    };
    trace.jobs.iter().zip(&figures.spans_s).map(of).collect()
}

fn compared(seed: u64, sizes: Sizes, each: usize) -> Came {
    let trace = by_turns(seed, sizes, each);
    let (watched, figures) = watch(WHOLE, &trace, guaranteed(), (0, 0));
    let together = waits_s(&trace, &figures);
    let mut alone = BTreeMap::new();
    for queue in 0..QUEUES.len() {
        let mine = Trace::new(trace.jobs.iter().filter(|job| queue_of(job) == queue).cloned().collect());
        let (_, figures) = watch(PART, &mine, guaranteed(), (0, 0));
        alone.append(&mut waits_s(&mine, &figures));
    }
    let mut came = Came { jobs: trace.jobs.len(), stops: watched.stops, below: watched.below, ..Came::default() };
    for (at, job) in trace.jobs.iter().enumerate() {
        let (together_s, alone_s) = (together[&job.name], alone[&job.name]);
        came.waited_s = (came.waited_s.0 + together_s, came.waited_s.1 + alone_s);
        if together_s <= alone_s + CYCLES_S {
            continue;
        }
        let because = [&watched.blocked_s, &watched.in_pieces_s].map(|by_job| by_job.get(&at).copied().unwrap_or(0));
        let why = because.iter().position(|waited_s| *waited_s > CYCLES_S).unwrap_or(2);
        came.late[why] += 1;
        if why < 2 {
            came.longest[why] = Some((because[why], seed, job.name.clone())).max(came.longest[why].take());
        }
    }
    came
}

/// Seeds of one kind of workload, all told in one line.
fn seeds_came(title: &str, sizes: Sizes, seeds: u64) -> Came {
    let mut all = Came::default();
    for seed in 0..seeds {
        let came = compared(seed, sizes, EACH);
        all.jobs += came.jobs;
        all.stops += came.stops;
        for why in 0..3 {
            all.late[why] += came.late[why];
        }
        for why in 0..2 {
            all.longest[why] = all.longest[why].take().max(came.longest[why].clone());
        }
        all.waited_s = (all.waited_s.0 + came.waited_s.0, all.waited_s.1 + came.waited_s.1);
        all.below.extend(came.below.into_iter().map(|below| format!("seed {seed}: {below}")));
    }
    let [others, in_pieces, own] = all.late;
    say(&format!(
        "{title}, {} jobs: {others} waited longer than alone because of another queue; {in_pieces} because what could be taken back made no place; {own} \
         because of earlier starts of their own queue; {} stops, {} times below a guarantee; waited {} s on average, {} s alone; longest {:?}",
        all.jobs,
        all.stops,
        all.below.len(),
        all.waited_s.0 / all.jobs as u64,
        all.waited_s.1 / all.jobs as u64,
        all.longest,
    ));
    all
}

fn none_waits_because_of_another_queue(title: &str, sizes: Sizes) {
    let came = seeds_came(title, sizes, if is_long() { 9 } else { 1 });
    assert!(came.stops > 0, "a run in which nothing is taken back shows nothing");
    assert_eq!(came.below, Vec::<String>::new());
    assert_eq!(came.late[0], 0, "{:?}", came.longest[0]);
}

#[test]
fn no_job_of_one_gpu_waits_longer_because_of_another_queue() {
    none_waits_because_of_another_queue("one GPU each", [&[1]; 3]);
}

#[test]
fn no_job_of_a_whole_node_waits_longer_because_of_another_queue() {
    none_waits_because_of_another_queue("a node each", [&[8]; 3]);
}

#[test]
fn no_gang_of_two_nodes_waits_longer_because_of_another_queue() {
    none_waits_because_of_another_queue("two nodes each", [&[16]; 3]);
}

#[test]
fn no_job_waits_longer_because_of_another_queue_whose_jobs_are_of_other_sizes() {
    none_waits_because_of_another_queue("one GPU, a node, two nodes by queue", [&[1], &[8], &[16]]);
}

#[test]
fn where_sizes_are_mixed_nobody_waits_longer_for_what_could_be_taken_back() {
    none_waits_because_of_another_queue("all sizes in each queue", [&[1, 2, 4, 8, 16]; 3]);
}
