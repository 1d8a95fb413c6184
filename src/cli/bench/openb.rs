//! `bench openb`: the published packing experiment on lists of nodes and pods, for our engine and for every baseline.
//!
//! Here are files, threads, the clock and the printing; what is run is in `sim::openb`. Seeds run side by side, so that
//! times are those of a busy machine; everything else is a function of the lists and the seed.

mod protocol;
mod replayed;
mod report;

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::protocol::Protocol;
use self::replayed::{ReplayReport, Replayed};
use self::report::{Figures, Policies, Report};
use crate::cli::{Advice, Console, Exit, policy};
use crate::policy::Profile;
use crate::sim::openb::{self, Baseline, Fill, ListError, Nodes, Ours, Packer, Pods, Published, Replay};

/// Arguments of `bench openb`.
#[derive(Args, Clone, Debug)]
pub(super) struct OpenbArgs {
    /// Node list, as the trace has it
    #[arg(long, value_name = "CSV")]
    nodes: PathBuf,
    /// Take every so-manyth node only: a smaller cluster of the same kinds
    #[arg(long, default_value_t = 1, value_name = "STEP")]
    every: usize,
    /// Pod list
    #[arg(long, value_name = "CSV")]
    pods: PathBuf,
    /// Seeds of arrival orders and dice: a range, ends included, or a list [default: 42..51, of a replay 42]
    #[arg(long, value_parser = parse_seeds)]
    seeds: Option<Seeds>,
    /// Workload that arrives, as a multiple of all GPUs; 0 leaves the list as it is
    #[arg(long, default_value_t = 1.3, value_name = "RATIO")]
    tune: f64,
    /// Create and end pods when the list says so, with a queue, instead of filling the cluster
    #[arg(long)]
    replay: bool,
    /// With --replay: arrivals come so many times as fast, and run as long as before
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", requires = "replay")]
    compress: f64,
    /// Only these policies: `gangplank`, or names of baselines
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    policy: Vec<String>,
    /// How our engine is asked: in process, or by a kube-scheduler's loop through the extender protocol over loopback HTTP
    #[arg(long, value_enum, default_value_t = Through::Engine, conflicts_with = "replay")]
    through: Through,
    /// The policy profile of our engine; without it, the one that ships in the binary
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Published results to compare with; without it, `expected_summary.csv` beside the pod list, if it is there
    #[arg(long, value_name = "CSV")]
    published: Option<PathBuf>,
}

/// How our engine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Through {
    /// Step by step, in process.
    Engine,
    /// As `gangplank serve` is asked.
    Protocol,
}

/// Seeds, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seeds(pub(super) Vec<u64>);

/// How the engine is named among the policies.
const OURS: &str = "gangplank";
/// Whose form lists have.
const FORM: &str = "cluster-trace-gpu-v2023";
/// Lists are read whole.
const FILE_BYTES_MAX: u64 = 256 << 20;
const SEEDS_MAX: usize = 1000;

pub(super) fn run(args: &OpenbArgs, console: Console) -> anyhow::Result<Exit> {
    let scene = Scene::read(args)?;
    let policies = chosen(&args.policy)?;
    let list = scene.list.clone();
    if args.replay {
        anyhow::ensure!((0.001..=1000.0).contains(&args.compress), "--compress {} is not within 0.001..=1000", args.compress);
        let seeds = args.seeds.clone().map_or(vec![42], |seeds| seeds.0);
        let came = run_all(&policies, &seeds, console, |policy, seed| scene.replay(policy, seed, args.compress))?;
        let policies = Policies(came.into_iter().map(|(name, replays)| (name, Replayed::of(&replays))).collect());
        console.data(&ReplayReport { list, seeds, compress: args.compress, policies }, ReplayReport::table)?;
        return Ok(Exit::Ok);
    }
    let seeds = args.seeds.clone().map_or((42..=51).collect(), |seeds| seeds.0);
    let came = run_all(&policies, &seeds, console, |policy, seed| scene.fill(policy, seed))?;
    let policies = Policies(came.into_iter().map(|(name, fills)| (name, Figures::of(&fills))).collect());
    console.data(&Report { list, seeds, policies }, |report| report.table(&scene.published))?;
    Ok(Exit::Ok)
}

/// Runs every policy with every seed; results by policy, in the order of the seeds.
fn run_all<R: Send>(
    policies: &[Option<&'static Baseline>],
    seeds: &[u64],
    console: Console,
    run: impl Fn(Option<&Baseline>, u64) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<(&'static str, Vec<R>)>> {
    let jobs: Vec<(Option<&Baseline>, u64)> = policies.iter().flat_map(|policy| seeds.iter().map(move |seed| (*policy, *seed))).collect();
    let progress = Progress::new(console, jobs.len());
    let came = side_by_side(&jobs, |&(policy, seed)| {
        let came = run(policy, seed).with_context(|| format!("{}, seed {seed}", name_of(policy)))?;
        progress.tell(name_of(policy), seed);
        anyhow::Ok(came)
    });
    progress.end();
    let mut came = came.into_iter();
    let of_policy = |policy| Ok((name_of(policy), came.by_ref().take(seeds.len()).collect::<anyhow::Result<Vec<R>>>()?));
    policies.iter().copied().map(of_policy).collect()
}

/// What all runs share.
struct Scene {
    list: String,
    nodes: Nodes,
    pods: Pods,
    target_milli: Option<u64>,
    profile: Arc<Profile>,
    through: Through,
    published: Published,
}

impl Scene {
    fn read(args: &OpenbArgs) -> anyhow::Result<Self> {
        anyhow::ensure!((0.0..=100.0).contains(&args.tune), "--tune {} is not within 0..=100", args.tune);
        let nodes = parsed(&args.nodes, FORM, Nodes::parse)?.every(args.every);
        let pods = parsed(&args.pods, FORM, |text| Pods::parse(text, &nodes))?;
        let beside = args.pods.with_file_name("expected_summary.csv");
        let published = match &args.published {
            Some(file) => parsed(file, FORM, Published::parse)?,
            None if beside.is_file() => parsed(&beside, FORM, Published::parse)?,
            None => Published::default(),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above to be small and not negative")]
        let target_milli = (args.tune > 0.0).then(|| (nodes.capacity_milli() as f64 * args.tune) as u64);
        let list = args.pods.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let profile = Arc::new(policy::load_one(args.profile.as_deref())?);
        Ok(Self { list, nodes, pods, target_milli, profile, through: args.through, published })
    }

    fn fill(&self, policy: Option<&Baseline>, seed: u64) -> anyhow::Result<Fill> {
        let order = openb::arrivals(&self.pods.list, seed, self.target_milli);
        self.with_packer(policy, seed, |packer| Ok(openb::fill(&self.nodes, &self.pods, &order, packer, clock_ns)?))
    }

    fn replay(&self, policy: Option<&Baseline>, seed: u64, compress: f64) -> anyhow::Result<Replay> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before to be small and positive")]
        let compress_milli = (compress * 1000.0).round() as u64;
        self.with_packer(policy, seed, |packer| Ok(openb::replay(&self.nodes, &self.pods, compress_milli, packer)?))
    }

    fn with_packer<R>(
        &self,
        policy: Option<&Baseline>,
        seed: u64,
        run: impl FnOnce(&mut dyn Packer) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let Some(baseline) = policy else {
            if self.through == Through::Protocol {
                let mut protocol = Protocol::start(&self.nodes, Arc::clone(&self.profile), seed, clock_ns)?;
                let came = run(&mut protocol);
                return protocol.end().and(came);
            }
            let mut ours = Ours::new(&self.nodes, Arc::clone(&self.profile), seed, clock_ns);
            let came = run(&mut ours)?;
            let violations = ours.engine().violations();
            anyhow::ensure!(violations.is_empty(), "the book is broken: {violations:?}");
            return Ok(came);
        };
        run(&mut *(baseline.start)(&self.nodes, &self.pods, seed))
    }
}

/// Reads a list; `form` says where such lists come from.
pub(super) fn parsed<T>(file: &Path, form: &str, parse: impl FnOnce(&str) -> Result<T, ListError>) -> anyhow::Result<T> {
    let advice = |problem: String| Advice::new(problem, format!("give lists as {form} has them, see docs/benchmarks.md"));
    let bytes = std::fs::metadata(file).map_err(|error| advice(format!("cannot read {}: {error}", file.display())))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(advice(format!("{} has {bytes} bytes, at most {FILE_BYTES_MAX} are read", file.display())).into());
    }
    let text = std::fs::read_to_string(file).map_err(|error| advice(format!("cannot read {}: {error}", file.display())))?;
    parse(&text).with_context(|| advice(format!("{} is not such a list", file.display())))
}

/// The policies to run, ours first; none stands for ours.
fn chosen(names: &[String]) -> anyhow::Result<Vec<Option<&'static Baseline>>> {
    let all: Vec<Option<&Baseline>> = std::iter::once(None).chain(openb::ALL.iter().map(Some)).collect();
    let known: Vec<&str> = all.iter().map(|policy| name_of(*policy)).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Advice::new(format!("there is no policy `{unknown}` here"), format!("choose of {}", known.join(", "))).into());
    }
    Ok(all.into_iter().filter(|policy| names.is_empty() || names.iter().any(|name| name == name_of(*policy))).collect())
}

fn name_of(policy: Option<&Baseline>) -> &'static str {
    policy.map_or(OURS, |baseline| baseline.name)
}

pub(super) fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("`{text}` is not a whole number"));
    let mut seeds: Vec<u64> = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
                if last < first || last - first >= SEEDS_MAX as u64 {
                    return Err(format!("`{part}` is not a range of 1 to {SEEDS_MAX} seeds"));
                }
                seeds.extend(first..=last);
            }
            None => seeds.push(number(part)?),
        }
    }
    seeds.sort_unstable();
    seeds.dedup();
    if seeds.len() > SEEDS_MAX { Err(format!("more than {SEEDS_MAX} seeds")) } else { Ok(Seeds(seeds)) }
}

/// Nanoseconds since the first call.
fn clock_ns() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Runs every job on as many threads as there are cores; results in the order of the jobs.
pub(super) fn side_by_side<J: Sync, R: Send>(jobs: &[J], run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { return };
                    *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(run(job));
                }
            });
        }
    });
    results.into_iter().filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// A bar on a terminal, a line a run elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    console: Console,
}

impl Progress {
    fn new(console: Console, runs: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(runs as u64);
            // A template that does not parse falls back to the plain bar.
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {elapsed} of about {duration}, last {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, console }
    }

    fn tell(&self, policy: &str, seed: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{policy}, seed {seed}"));
                bar.inc(1);
            }
            None => self.console.talk(&format!("done: {policy}, seed {seed}")),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_with_its_ends_or_a_list() {
        let seeds = |text| parse_seeds(text).map(|seeds| seeds.0);
        assert_eq!(seeds("42..45"), Ok(vec![42, 43, 44, 45]));
        assert_eq!(seeds("7,1000..1001,7"), Ok(vec![7, 1000, 1001]));
        for wrong in ["", "a", "5..4", "1..5000"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u32> = (0..100).collect();
        assert_eq!(side_by_side(&jobs, |job| job * 2), jobs.iter().map(|job| job * 2).collect::<Vec<_>>());
    }
}
