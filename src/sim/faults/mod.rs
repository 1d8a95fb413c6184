//! A whole cluster in one thread, in which everything goes wrong that can: what Gangplank promises is checked after
//! every step. docs/simulation.md tells what is simulated, what is checked, and how a failure is replayed.
//!
//! Here: the API server (`store`), watches and readiness of a Gangplank process (`replica`), its bind flow (`flow`),
//! kube-scheduler (`kube_scheduler`, `cycle`), controllers and users (`jobs`), kubelets and agents (`kubelet`), what
//! goes wrong (`scenario`, `trouble`), what must hold (`checks`, `model`), mistakes of others (`museum`).
//! The engine is driven by its inputs and seen by its answers, effects and book alone. All of it comes from one seed.

mod budgets;
mod checks;
mod cycle;
mod decisions;
mod dice;
mod flow;
mod gates;
mod jobs;
mod kube_scheduler;
mod kubelet;
mod model;
pub mod museum;
mod replica;
mod rivalry;
mod run;
mod scenario;
mod shrink;
mod store;
mod timeline;
mod trouble;

use std::collections::BTreeSet;
use std::fmt;

pub use museum::Flaw;
pub use rivalry::FROM as RIVALRY_FROM;
pub use shrink::shrink;

/// How to run a seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A mistake to make.
    pub flaw: Option<Flaw>,
    /// Disturbances to leave out, by their place in the plan.
    pub without: BTreeSet<usize>,
    /// Keep the last lines of what happened, in words.
    pub trace: bool,
}

/// A run in which everything held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub events: u64,
    /// Steps of engines.
    pub steps: u64,
    /// Attempts of kube-scheduler.
    pub attempts: u64,
    /// Bindings that Gangplank wrote.
    pub bindings: u64,
    /// Books that were compared with one built anew.
    pub audits: u64,
    /// Decisions to evict somebody for somebody else.
    pub decisions: u64,
    /// Pods that were to go by them.
    pub victims: u64,
    /// Everything that was decided, as a number: equal runs have equal ones.
    pub said: u64,
    /// When all work was done, in milliseconds of the run.
    pub ended_at_ms: u64,
}

/// A run in which something did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// By its number in docs/simulation.md.
    pub invariant: &'static str,
    /// What exactly.
    pub text: String,
    /// When, in milliseconds of the run.
    pub at_ms: u64,
    /// How many disturbances the plan had.
    pub disturbances: usize,
    /// What happened before, if it was kept.
    pub story: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.story.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "seed {}: {} does not hold after {} ms: {}", self.seed, self.invariant, self.at_ms, self.text)
    }
}

/// Runs what a seed means, to the end or to the first thing that does not hold.
///
/// # Errors
/// What does not hold.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Broken>> {
    run::Run::new(seed, options).run(seed)
}
