//! One run: the state of everything, and what each event does to it. It decides what happens next and when the run is
//! over; what must hold is `checks`' business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::decisions::Decisions;
use super::dice::Dice;
use super::flow::Call;
use super::jobs::Job;
use super::kube_scheduler::KubeScheduler;
use super::kubelet::Kubelet;
use super::museum::Flaw;
use super::replica::Replica;
use super::scenario::{Scenario, Trap, first_report};
use super::store::{Kind, News, Store};
use super::timeline::{Event, Ms, Timeline, Watcher};
use super::{Broken, Options, Report};
use crate::engine::{Answer, Effect, Engine, Input, Output};
use crate::model::{NodeName, Pod, PodKey, PodPhase, PodUid, Time};

/// Everything there is.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) now: Ms,
    pub(super) dice: Dice,
    pub(super) scenario: Scenario,
    pub(super) flaw: Option<Flaw>,
    /// Faults are over.
    pub(super) calm: bool,
    pub(super) timeline: Timeline,
    pub(super) store: Store,
    pub(super) streams: BTreeMap<(Watcher, Kind), Stream>,
    pub(super) replicas: Vec<Replica>,
    pub(super) schedulers: Vec<KubeScheduler>,
    /// kube-scheduler's lease, where there are two.
    pub(super) lease: Option<Lease>,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) jobs: BTreeMap<PodKey, Job>,
    pub(super) kubelets: BTreeMap<NodeName, Kubelet>,
    /// Pods that have begun to work.
    pub(super) working: BTreeSet<PodUid>,
    /// Jobs whose volumes are out of reach from a node.
    pub(super) zones: BTreeSet<(PodKey, NodeName)>,
    /// Nodes that are away.
    pub(super) away: BTreeMap<usize, crate::model::Node>,
    /// When nodes that were away came back.
    pub(super) back_at: BTreeMap<NodeName, Ms>,
    /// Nodes that do not answer.
    pub(super) silent: BTreeSet<NodeName>,
    pub(super) silent_since: BTreeMap<NodeName, Ms>,
    /// Jobs whose pods have a finalizer that nobody removes.
    pub(super) finalizers: BTreeSet<PodKey>,
    /// Who had to go for whom.
    pub(super) decisions: Decisions,
    /// What the next Binding springs.
    pub(super) trap: Option<Trap>,
    /// What the next eviction springs.
    pub(super) eviction_trap: Option<Trap>,
    pub(super) counter: u64,
    pub(super) counts: Counts,
    pub(super) broken: Option<(&'static str, String)>,
    /// When the filter calls were last looked at.
    pub(super) asked_at: Ms,
    story: Option<VecDeque<String>>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) steps: u64,
    pub(super) attempts: u64,
    pub(super) filters: u64,
    pub(super) bindings: u64,
    pub(super) audits: u64,
    pub(super) decisions: u64,
    pub(super) victims: u64,
    /// Filter calls by pod, since the last look.
    pub(super) asked: BTreeMap<PodUid, u64>,
    /// All that was decided, folded into a number.
    pub(super) said: u64,
}

/// Who leads.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) holder: usize,
    pub(super) renewals: u64,
}

/// A watch of one kind by one process.
#[derive(Debug, Default)]
pub(super) struct Stream {
    life: u64,
    cursor: usize,
    listed: bool,
    busy: bool,
    broken_since: Option<Ms>,
    /// Since when it has worked without a break.
    works_since: Ms,
}

impl Stream {
    pub(super) fn broken_for(&self, now: Ms) -> Ms {
        self.broken_since.map_or(0, |since| now - since)
    }

    pub(super) fn worked_for(&self, now: Ms) -> Ms {
        if self.listed && self.broken_since.is_none() { now - self.works_since } else { 0 }
    }

    /// Whether everything in a log of this length was delivered.
    pub(super) fn is_at(&self, len: usize) -> bool {
        self.listed && !self.busy && self.cursor == len && self.broken_since.is_none()
    }
}

/// Where time starts: any instant will do, the same one on every run.
const START: Time = Time::from_unix_ms(1_767_225_600_000);
/// How long work may take once nothing goes wrong any more.
const CALM_MAX_MS: Ms = 2_400_000;
/// How many lines of the story are told.
const STORY_LINES: usize = 4000;

impl Run {
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut scenario = Scenario::of(seed);
        let mut index = 0;
        scenario.disturbances.retain(|_| {
            index += 1;
            !options.without.contains(&(index - 1))
        });
        let mut dice = Dice::new(seed ^ 0x9E37_79B9_7F4A_7C15);
        let count = scenario.replicas;
        let replicas = (0..count).map(|_| Replica::new(Engine::new(scenario.profiles.clone()), dice.below(60_000))).collect();
        Self {
            now: 0,
            dice,
            flaw: options.flaw,
            calm: false,
            timeline: Timeline::default(),
            store: Store::default(),
            streams: BTreeMap::new(),
            replicas,
            schedulers: (0..count).map(|_| KubeScheduler::default()).collect(),
            lease: (count > 1).then_some(Lease { holder: 0, renewals: 0 }),
            calls: BTreeMap::new(),
            jobs: BTreeMap::new(),
            kubelets: BTreeMap::new(),
            working: BTreeSet::new(),
            zones: BTreeSet::new(),
            away: BTreeMap::new(),
            back_at: BTreeMap::new(),
            silent: BTreeSet::new(),
            silent_since: BTreeMap::new(),
            finalizers: BTreeSet::new(),
            decisions: Decisions::default(),
            trap: None,
            eviction_trap: None,
            counter: 0,
            counts: Counts::default(),
            broken: None,
            asked_at: 0,
            story: options.trace.then(VecDeque::new),
            scenario,
        }
    }

    /// Runs to the end.
    pub(super) fn run(mut self, seed: u64) -> Result<Report, Box<Broken>> {
        self.begin();
        while let Some((at, event)) = self.timeline.next() {
            self.now = at;
            self.counts.events += 1;
            self.happens(event);
            self.pump();
            if self.broken.is_some() {
                break;
            }
            if self.calm && self.counts.events.is_multiple_of(16) && self.is_all_done() {
                self.check_end();
                break;
            }
            if self.now > self.scenario.calm_at + CALM_MAX_MS {
                self.check_stuck();
                break;
            }
        }
        if let Some((invariant, text)) = self.broken {
            let story = self.story.map(Vec::from).unwrap_or_default();
            let disturbances = self.scenario.disturbances.len();
            return Err(Box::new(Broken { seed, invariant, text, at_ms: self.now, disturbances, story }));
        }
        let Counts { events, steps, attempts, bindings, audits, decisions, victims, said, .. } = self.counts;
        Ok(Report { events, steps, attempts, bindings, audits, decisions, victims, said, ended_at_ms: self.now })
    }

    fn begin(&mut self) {
        for (node, agent) in self.scenario.nodes.clone() {
            self.kubelets.insert(node.name.clone(), Kubelet { agent, ..Kubelet::default() });
            if let Some(agent) = agent {
                self.store.apply_report(&node.name, first_report(agent));
            }
            self.store.apply_node(node);
        }
        for quota in self.scenario.quotas.clone() {
            self.store.apply_quota(quota);
        }
        self.begin_budgets();
        for at in 0..self.replicas.len() {
            self.start_replica(at);
            self.start_scheduler(at);
        }
        if self.lease.is_some() {
            self.schedulers[0].leading = true;
        }
        for (at, cpu_milli) in self.scenario.plain.clone() {
            self.counter += 1;
            let name = format!("plain{}", self.counter);
            let uid = PodUid::new(format!("p{:05}", self.counter));
            let pod = Pod { cpu_milli, ..Pod::pending(uid, PodKey::new("a", name)) };
            self.enter(at, Event::Create { pod: Box::new(pod) });
        }
        for index in 0..self.scenario.jobs.len() {
            self.enter(self.scenario.jobs[index].at, Event::NewJob { index });
        }
        for (index, at) in self.scenario.disturbances.iter().map(|(at, _)| *at).enumerate().collect::<Vec<_>>() {
            self.enter(at, Event::Disturb { index });
        }
        self.enter(self.scenario.calm_at, Event::Calm);
    }

    pub(super) fn enter(&mut self, after: Ms, event: Event) {
        self.timeline.enter(self.now + after, event);
    }

    pub(super) fn time(&self) -> Time {
        START + Duration::from_millis(self.now)
    }

    pub(super) fn relist_period(&mut self) -> Ms {
        self.dice.between(20_000, 60_000)
    }

    /// Tells of what happens, if anybody listens.
    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push_back(format!("{:>7}.{:03} s  {}", now / 1000, now % 1000, line()));
            if story.len() > STORY_LINES {
                story.pop_front();
            }
        }
    }

    /// Something does not hold.
    pub(super) fn fail(&mut self, invariant: &'static str, text: String) {
        if self.broken.is_none() {
            self.say(|| format!("BROKEN {invariant}: {text}"));
            self.broken = Some((invariant, text));
        }
    }

    /// One step of one engine, with everything that is checked after it.
    pub(super) fn tell(&mut self, at: usize, input: Input<'_>) -> Answer {
        let kind = input.kind();
        let replica = &mut self.replicas[at];
        let now = START + Duration::from_millis(self.now + replica.ahead_ms);
        let ready = replica.ready;
        let mut output = replica.engine.step(now, input);
        self.counts.steps += 1;
        for _ in 0..4 {
            if !replica.engine.wants_to_prepare() {
                break;
            }
            replica.engine.step(now, Input::Prepare);
        }
        let effects = std::mem::take(&mut output.effects);
        self.fold(kind, &output, effects.len());
        if !ready && !matches!(output.answer, Answer::None | Answer::NotReady) {
            self.fail("I17", format!("gangplank {at} answered {kind} though it is not ready"));
        }
        self.check_step(at, kind);
        self.check_decisions(at, kind, &effects);
        for effect in effects {
            self.send_effect(at, effect);
        }
        self.plan_soon(at);
        output.answer
    }

    /// Plans are made between questions.
    fn plan_soon(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if replica.engine.wants_to_plan() && !replica.planning {
            replica.planning = true;
            let life = replica.life;
            let after = self.dice.between(1, 8);
            self.enter(after, Event::Plan { replica: at, life });
        }
    }

    fn plan(&mut self, at: usize, _life: u64) {
        self.replicas[at].planning = false;
        if self.replicas[at].engine.wants_to_plan() {
            self.tell(at, Input::Plan);
        }
    }

    /// Folds what was decided into a number: equal runs have equal ones.
    fn fold(&mut self, kind: &str, output: &Output, effects: usize) {
        let answer = match &output.answer {
            Answer::Filter(answer) => answer.nodes.iter().fold(7, |sum, place| sum * 31 + u64::from(*place)),
            Answer::Bind(_) => 11,
            Answer::Prioritize(scores) => scores.iter().fold(13, |sum: u64, score| sum.wrapping_mul(31).wrapping_add(score.unsigned_abs())),
            Answer::Preempt(_) => 17,
            Answer::NotReady => 19,
            Answer::None => 23,
        };
        for part in [self.now, kind.len() as u64, answer, effects as u64] {
            self.counts.said = (self.counts.said ^ part).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn send_effect(&mut self, at: usize, effect: Effect) {
        let (life, now) = (self.replicas[at].life, self.now);
        if let Effect::Touch(pod) = &effect {
            let touched = &mut self.replicas[at].touched;
            // The shell merges a touch that follows another within a second.
            if touched.get(&pod.uid).is_some_and(|last| now < last + 1000) {
                return;
            }
            touched.insert(pod.uid.clone(), now);
        }
        if matches!(effect, Effect::Event(_)) || (!self.calm && self.dice.chance(self.scenario.rates.effects)) {
            return;
        }
        let mut after = self.dice.between(1, if self.calm { 20 } else { 400 });
        // The museum's queue, which takes its time, and outlives what put something into it.
        if matches!(effect, Effect::Evict { .. }) && matches!(self.flaw, Some(Flaw::LateEvictions | Flaw::EvictByName)) {
            after += self.dice.between(0, 90_000);
        }
        self.enter(after, Event::Effect { replica: at, life, effect });
    }

    /// Enters the arrival of news where there is any.
    fn pump(&mut self) {
        for at in 0..self.schedulers.len() {
            self.drive(at);
        }
        let slow = if self.calm { 20 } else { self.scenario.rates.news_ms };
        for ((to, kind), stream) in &mut self.streams {
            if stream.listed && !stream.busy && stream.broken_since.is_none() && stream.cursor < self.store.log(*kind).len() {
                stream.busy = true;
                let most = match to {
                    Watcher::Scheduler(_) => slow.min(300),
                    // What a process before it sent last must be seen within the moment in which it binds nothing.
                    Watcher::Replica(at) if !self.replicas[*at].has_settled(self.now) => slow.min(80),
                    Watcher::Replica(_) => slow,
                };
                let at = self.now + self.dice.between(1, most);
                self.timeline.enter(at, Event::Watch { to: *to, kind: *kind, life: stream.life });
            }
        }
    }

    /// A process begins to watch: it lists first.
    pub(super) fn follow(&mut self, to: Watcher, kinds: &[Kind]) {
        let life = match to {
            Watcher::Replica(at) => self.replicas[at].life,
            Watcher::Scheduler(at) => self.schedulers[at].life,
        };
        for &kind in kinds {
            self.streams.insert((to, kind), Stream { life, ..Stream::default() });
            // A large cluster takes its time to list.
            let after = if !self.calm && self.dice.chance(150) { self.dice.between(300, 4000) } else { self.dice.between(1, 300) };
            self.enter(after, Event::List { to, kind, life });
        }
    }

    pub(super) fn list(&mut self, to: Watcher, kind: Kind) {
        let list = self.store.list(kind);
        let (now, len) = (self.now, self.store.log(kind).len());
        let Some(stream) = self.streams.get_mut(&(to, kind)) else { return };
        if stream.broken_since.is_some_and(|since| since < now) {
            let life = stream.life;
            return self.enter(500, Event::List { to, kind, life });
        }
        (stream.cursor, stream.listed, stream.works_since) = (len, true, now);
        self.say(|| format!("{to:?} lists {kind:?}: {} of them", list.len()));
        match to {
            Watcher::Replica(at) => self.listed_to_replica(at, kind, list),
            Watcher::Scheduler(at) => {
                list.into_iter().for_each(|news| self.schedulers[at].hear(now, news));
                self.schedulers[at].listed.insert(kind);
            }
        }
    }

    pub(super) fn watch(&mut self, to: Watcher, kind: Kind) {
        let log = self.store.log(kind);
        let Some(stream) = self.streams.get_mut(&(to, kind)) else { return };
        stream.busy = false;
        if stream.broken_since.is_some() || !stream.listed {
            return;
        }
        let there = log.len().saturating_sub(stream.cursor);
        let count = if self.dice.chance(700) { there } else { self.dice.place(there) + 1 }.min(there);
        let mut news: Vec<News> = log[stream.cursor..stream.cursor + count].to_vec();
        stream.cursor += count;
        if !self.calm && self.dice.chance(20) {
            news.extend(news.last().cloned());
        }
        if self.flaw == Some(Flaw::NewsOutOfOrder) && matches!(to, Watcher::Replica(_)) {
            news.reverse();
        }
        let (lost, now) = (if self.calm { 0 } else { self.scenario.rates.lost_deletes }, self.now);
        for news in news {
            match to {
                Watcher::Replica(_) if matches!(news, News::PodGone(_)) && self.dice.chance(lost) => {
                    self.say(|| format!("{to:?} never hears: {news:?}"));
                }
                Watcher::Replica(at) => self.news_to_replica(at, news),
                Watcher::Scheduler(at) => self.schedulers[at].hear(now, news),
            }
        }
    }

    pub(super) fn break_watch(&mut self, to: Watcher, kind: Kind) {
        let now = self.now;
        if let Some(stream) = self.streams.get_mut(&(to, kind)) {
            stream.broken_since = stream.broken_since.or(Some(now));
        }
    }

    pub(super) fn mend_watch(&mut self, to: Watcher, kind: Kind, gone: bool) {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&(to, kind)) else { return };
        (stream.broken_since, stream.works_since) = (None, now);
        if gone && stream.listed {
            stream.listed = false;
            let life = stream.life;
            self.enter(50, Event::List { to, kind, life });
        }
    }

    /// Nobody ends or starts anything on a node that does not answer, and a finalizer keeps what it is on.
    fn put_off(&self, event: &Event) -> Option<Ms> {
        if self.silent.is_empty() && self.finalizers.is_empty() {
            return None;
        }
        let silent = |uid: &PodUid| {
            let node = self.store.pod(uid).and_then(|pod| pod.node.as_ref());
            node.is_some_and(|node| self.silent.contains(node) && self.store.node(node).is_some())
        };
        let kept = |uid: &PodUid| {
            let owner = self.store.pod(uid).and_then(|pod| pod.controller.as_ref());
            owner.is_some_and(|owner| self.finalizers.contains(&owner.key))
        };
        let waits = match event {
            Event::Start { uid } | Event::End { uid } => silent(uid),
            Event::Gone { uid } => silent(uid) || kept(uid),
            Event::GangEnd { key, .. } => self.members(key).iter().any(silent),
            _ => false,
        };
        waits.then_some(1000)
    }

    /// What is watched in this run.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        if self.scenario.rivalry.is_some() { &Kind::WITH_BUDGETS } else { &Kind::ALL }
    }

    fn happens(&mut self, event: Event) {
        match super::gates::of(self, &event) {
            super::gates::Gate::Open => {}
            super::gates::Gate::Later(at) => return self.timeline.enter(at, event),
            super::gates::Gate::Lost => return,
        }
        if let Some(at) = super::gates::speaker(&event) {
            self.lapse(at);
        }
        if let Some(later) = self.put_off(&event) {
            return self.enter(later, event);
        }
        match event {
            Event::Watch { to, kind, .. } => self.watch(to, kind),
            Event::List { to, kind, .. } => self.list(to, kind),
            Event::Cycle { scheduler, .. } => self.cycle(scheduler),
            Event::Flush { scheduler, life } => self.flush(scheduler, life),
            Event::Lease { scheduler, life } => self.lease(scheduler, life),
            Event::Bind { scheduler, life, uid } => self.bind(scheduler, life, &uid),
            Event::Asked { replica, caller, uid, key, node } => self.bind_asked(replica, caller, (uid, key), &node),
            Event::Bound { scheduler, uid, call, error, .. } => self.bound(scheduler, &uid, call, error),
            Event::Condition { uid, reason, unschedulable } => self.store.set_condition(&uid, reason, unschedulable),
            Event::Tick { replica, life } => self.tick(replica, life),
            Event::Voice { replica, life } => self.look_for_voice(replica, life),
            Event::Relist { replica, life } => self.relist(replica, life),
            Event::Compare { replica, .. } => self.compare(replica),
            Event::Flow { replica, flow, .. } => self.flow_goes_on(replica, flow),
            Event::Called { replica, flow, call, result, .. } => self.called(replica, flow, call, result),
            Event::Arrives { call } => self.arrives(call),
            Event::Effect { replica, effect, .. } => self.carry_out(replica, effect),
            Event::StartReplica { replica } => self.start_replica(replica),
            Event::StartScheduler { scheduler } => self.start_scheduler(scheduler),
            Event::NewJob { index } => self.create_job(self.scenario.jobs[index].clone()),
            Event::Job { key } => self.sync_job(&key),
            Event::Create { pod } => drop(self.store.create(*pod)),
            Event::Start { uid } => self.start_pod(&uid),
            Event::Plan { replica, life } => self.plan(replica, life),
            Event::GangEnd { key, run } => self.gang_ends(&key, run),
            Event::End { uid } => self.finished(&uid, PodPhase::Succeeded),
            Event::Gone { uid } => self.remove_pod(&uid),
            Event::Budgets => self.count_budgets(),
            Event::Report { node } => self.report(&node),
            Event::Disturb { index } => self.disturb(index),
            Event::Mend { index } => self.mend(index),
            Event::Calm => {
                self.calm = true;
                self.say(|| "from here on nothing goes wrong".into());
            }
        }
    }
}
