//! The loop over arrivals and ends: it asks who decides, checks and carries out every move, and keeps the progress.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use super::{Figures, Job, Trace};

/// Equal nodes.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// How many.
    pub nodes: usize,
    /// GPUs of each.
    pub node_gpus: u32,
}

impl Cluster {
    /// GPUs of all nodes.
    pub fn gpus(&self) -> u64 {
        self.nodes as u64 * u64::from(self.node_gpus)
    }
}

/// Somebody who decides which jobs run where.
pub trait Arbiter: fmt::Debug {
    /// A job has come.
    fn came(&mut self, now_s: u64, job: usize);

    /// A job is done, and off its nodes.
    fn ended(&mut self, now_s: u64, job: usize);

    /// What shall happen now, in this order. Asked once a second in which anything happens, after all of it was told.
    fn decide(&mut self, now_s: u64, progress: &Progress<'_>) -> Vec<Move>;

    /// When it wants to be asked again, even if nothing happens before.
    fn looks_at_s(&self) -> Option<u64> {
        None
    }
}

/// Something that is done to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// It starts on these places, one for each of its pods.
    Start(usize, Vec<Place>),
    /// It is taken off its nodes, and keeps its progress.
    Stop(usize),
}

/// GPUs of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which node.
    pub node: usize,
    /// How many.
    pub gpus: u32,
}

/// How far every job is.
#[derive(Debug)]
pub struct Progress<'a> {
    trace: &'a Trace,
    cluster: Cluster,
    restart_s: u64,
    now_s: u64,
    states: Vec<State>,
    free: Vec<u32>,
}

/// How far one job is.
#[derive(Clone, Debug, Default)]
struct State {
    came: bool,
    /// Done of its run when it last stopped.
    done_s: u64,
    /// Seconds on its nodes before its last start, restarts included.
    held_s: u64,
    starts: u32,
    /// Since when it runs, and where.
    running: Option<(u64, Vec<Place>)>,
    first_start_s: Option<u64>,
    ended_s: Option<u64>,
    /// The longest time that it waited in one piece, and since when it waits.
    longest_wait_s: u64,
    waits_since_s: u64,
}

impl Progress<'_> {
    /// The job itself.
    pub fn job(&self, job: usize) -> &Job {
        &self.trace.jobs[job]
    }

    /// The nodes.
    pub fn cluster(&self) -> Cluster {
        self.cluster
    }

    /// What is left of its run, without the cost of starting again.
    pub fn left_s(&self, job: usize) -> u64 {
        self.trace.jobs[job].runs_s.saturating_sub(self.done_at(job, self.now_s))
    }

    /// How long it has held its GPUs so far.
    pub fn held_s(&self, job: usize) -> u64 {
        let state = &self.states[job];
        state.held_s + state.running.as_ref().map_or(0, |(since_s, _)| self.now_s - since_s)
    }

    /// How long it has waited in all.
    pub fn waited_s(&self, job: usize) -> u64 {
        let end_s = self.states[job].ended_s.unwrap_or(self.now_s);
        (end_s - self.trace.jobs[job].arrives_s).saturating_sub(self.held_s(job))
    }

    /// How long it has waited since it came or last ran; 0 while it runs.
    pub fn waits_s(&self, job: usize) -> u64 {
        let state = &self.states[job];
        if state.running.is_some() { 0 } else { self.now_s.saturating_sub(state.waits_since_s) }
    }

    /// Where it runs; none if it does not.
    pub fn places(&self, job: usize) -> Option<&[Place]> {
        self.states[job].running.as_ref().map(|(_, places)| places.as_slice())
    }

    /// Free GPUs by node.
    pub fn free(&self) -> &[u32] {
        &self.free
    }

    /// How often it was started.
    pub fn starts(&self, job: usize) -> u32 {
        self.states[job].starts
    }

    fn restarts_for_s(&self, state: &State) -> u64 {
        if state.starts > 1 { self.restart_s } else { 0 }
    }

    fn done_at(&self, job: usize, at_s: u64) -> u64 {
        let state = &self.states[job];
        let since = state.running.as_ref().map_or(0, |(since_s, _)| (at_s - since_s).saturating_sub(self.restarts_for_s(state)));
        state.done_s + since
    }

    fn ends_at(&self, job: usize) -> Option<u64> {
        let state = &self.states[job];
        let (since_s, _) = state.running.as_ref()?;
        Some(since_s + self.restarts_for_s(state) + (self.trace.jobs[job].runs_s - state.done_s))
    }
}

/// A move that breaks the rules.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("at {at_s} s, job {job}: {problem}")]
pub struct Broken {
    /// When.
    pub at_s: u64,
    /// Its name.
    pub job: String,
    /// What is wrong.
    pub problem: &'static str,
}

/// Runs a trace until every job has ended, or until nothing moves any more.
///
/// # Errors
/// An arbiter that breaks the rules.
pub fn run(cluster: Cluster, trace: &Trace, restart_s: u64, arbiter: &mut dyn Arbiter) -> Result<Figures, Broken> {
    let mut run = Run {
        progress: Progress {
            trace,
            cluster,
            restart_s,
            now_s: 0,
            states: vec![State::default(); trace.jobs.len()],
            free: vec![cluster.node_gpus; cluster.nodes],
        },
        ends: BTreeSet::new(),
        used_gpu_s: 0,
        stops: 0,
    };
    let (mut next, mut idle_looks) = (0, 0);
    loop {
        let ends_s = run.ends.first().map(|(at_s, _)| *at_s);
        let arrives_s = trace.jobs.get(next).map(|job| job.arrives_s);
        let looks_s = arbiter.looks_at_s().map(|at_s| at_s.max(run.progress.now_s + 1));
        // Somebody who only ever looks would never end.
        idle_looks = if ends_s.is_none() && arrives_s.is_none() { idle_looks + 1 } else { 0 };
        let looks_s = looks_s.filter(|_| idle_looks <= IDLE_LOOKS_MAX);
        let Some(at_s) = [ends_s, arrives_s, looks_s].into_iter().flatten().min() else { break };
        run.progress.now_s = at_s;
        while let Some(job) = run.ends.first().filter(|(end_s, _)| *end_s == at_s).map(|(_, job)| *job) {
            run.end(job);
            arbiter.ended(at_s, job);
        }
        while trace.jobs.get(next).is_some_and(|job| job.arrives_s == at_s) {
            (run.progress.states[next].came, run.progress.states[next].waits_since_s) = (true, at_s);
            arbiter.came(at_s, next);
            next += 1;
        }
        for one in arbiter.decide(at_s, &run.progress) {
            run.carry_out(&one).map_err(|problem| {
                let (Move::Start(job, _) | Move::Stop(job)) = one;
                Broken { at_s, job: trace.jobs[job].name.to_string(), problem }
            })?;
        }
    }
    Ok(run.figures())
}

/// Looks in a row while nothing runs and nobody comes: what is not started by then never will be.
const IDLE_LOOKS_MAX: u32 = 10_000;

struct Run<'a> {
    progress: Progress<'a>,
    ends: BTreeSet<(u64, usize)>,
    used_gpu_s: u64,
    stops: u64,
}

impl Run<'_> {
    fn end(&mut self, job: usize) {
        self.take_off(job);
        self.progress.states[job].ended_s = Some(self.progress.now_s);
    }

    fn take_off(&mut self, job: usize) {
        let now_s = self.progress.now_s;
        if let Some(end_s) = self.progress.ends_at(job) {
            self.ends.remove(&(end_s, job));
        }
        let done_s = self.progress.done_at(job, now_s);
        let state = &mut self.progress.states[job];
        let Some((since_s, places)) = state.running.take() else { return };
        (state.done_s, state.held_s, state.waits_since_s) = (done_s, state.held_s + (now_s - since_s), now_s);
        for place in places {
            self.progress.free[place.node] += place.gpus;
            self.used_gpu_s += u64::from(place.gpus) * (now_s - since_s);
        }
    }

    fn carry_out(&mut self, one: &Move) -> Result<(), &'static str> {
        match one {
            Move::Stop(job) => {
                self.progress.states[*job].running.as_ref().ok_or("stopped, and does not run")?;
                self.take_off(*job);
                self.stops += 1;
            }
            Move::Start(job, places) => self.start(*job, places)?,
        }
        Ok(())
    }

    fn start(&mut self, job: usize, places: &[Place]) -> Result<(), &'static str> {
        let (pods, each) = self.progress.trace.jobs[job].pods(self.progress.cluster.node_gpus);
        let now_s = self.progress.now_s;
        let state = &mut self.progress.states[job];
        if !state.came || state.running.is_some() || state.ended_s.is_some() {
            return Err("started, and does not wait");
        }
        if places.len() != pods as usize || places.iter().any(|place| place.gpus != each) {
            return Err("started on other than it asks for");
        }
        for place in places {
            let free = self.progress.free.get_mut(place.node).ok_or("started on a node that is not there")?;
            *free = free.checked_sub(place.gpus).ok_or("started where no such GPUs are free")?;
        }
        state.starts += 1;
        state.first_start_s.get_or_insert(now_s);
        state.longest_wait_s = state.longest_wait_s.max(now_s - state.waits_since_s);
        state.running = Some((now_s, places.to_vec()));
        if let Some(end_s) = self.progress.ends_at(job) {
            self.ends.insert((end_s, job));
        }
        Ok(())
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures { used_gpu_s: self.used_gpu_s, preemptions: self.stops, ..Figures::default() };
        for (job, (listed, state)) in self.progress.trace.jobs.iter().zip(&self.progress.states).enumerate() {
            figures.starts += u64::from(state.starts);
            figures.spans_s.push(state.first_start_s.zip(state.ended_s));
            let Some(ended_s) = state.ended_s else {
                figures.never_ended += 1;
                continue;
            };
            figures.makespan_s = figures.makespan_s.max(ended_s);
            figures.jct_s.push(ended_s - listed.arrives_s);
            figures.wait_s.push(self.progress.waited_s(job));
            figures.longest_wait_s = figures.longest_wait_s.max(state.longest_wait_s);
        }
        figures.jct_s.sort_unstable();
        figures.wait_s.sort_unstable();
        let held = u128::from(self.progress.cluster.gpus()) * u128::from(figures.makespan_s);
        figures.in_use_pct = if held == 0 { 0.0 } else { 100.0 * self.used_gpu_s as f64 / held as f64 };
        figures
    }
}
