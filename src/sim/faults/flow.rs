//! The bind flow of `host::binder`, one call at a time, where the watch told nothing: read afresh, ask the engine, write with preconditions, read
//! back when unclear. It decides nothing that the original does not; calls to the API server go wrong here.

use super::jobs::By;
use super::museum::Flaw;
use super::replica::Called;
use super::run::Run;
use super::scenario::Trap;
use super::store::{BindWrite, Failure};
use super::timeline::{Event, Ms};
use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Input};
use crate::model::{Grant, NodeName, Pod, PodKey, PodUid};

/// A question of kube-scheduler that waits for its answer: which scheduler, in which life, which call.
pub(super) type Caller = (usize, u64, u64);

/// One bind flow.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) uid: PodUid,
    key: PodKey,
    pub(super) node: NodeName,
    callers: Vec<Caller>,
    deadline: Ms,
    /// What is done next, or waited for.
    stage: Stage,
    /// The call that is under way.
    call: u64,
    grant: Option<Grant>,
    version: u64,
    attempt: u32,
    reads: u32,
    unclear: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    ReadFirst,
    Write,
    ReadAgain,
    ReadBack,
}

/// A call on its way to the API server.
#[derive(Clone, Debug)]
pub(super) struct Call {
    replica: usize,
    life: u64,
    flow: u64,
    what: Wanted,
    /// How long the answer takes; none for one that is lost.
    reply: Option<Ms>,
}

#[derive(Clone, Debug)]
enum Wanted {
    Read(PodKey),
    Write(BindWrite),
}

/// `BindLimits` as `serve` sets them.
const DEADLINE_MS: Ms = 4500;
const CALL_MS: Ms = 2250;
pub(super) const SETTLE_MS: Ms = 1000;
const ATTEMPTS_MAX: u32 = 8;
const THROTTLED_MS: Ms = 1000;
/// How long a call that was sent may take to arrive when the sender is alive: shorter than an undecided Binding is believed in.
const LATE_MS: Ms = 60_000;

/// How a request ended: the engine's order, if it gave one, and what kube-scheduler is told.
type End = (BindOutcome, Result<(), &'static str>);

impl Run {
    /// The bind verb.
    pub(super) fn bind_asked(&mut self, at: usize, caller: Caller, pod: (PodUid, PodKey), node: &NodeName) {
        let (uid, key) = pod;
        if !self.replicas[at].alive || !self.replicas[at].ready {
            return self.reply(caller, &uid, Err("not ready"));
        }
        let twice = self.flaw == Some(Flaw::NoFence);
        if let Some(flow) = self.replicas[at].flows.values_mut().find(|flow| flow.uid == uid && !twice) {
            if flow.node == *node {
                return flow.callers.push(caller);
            }
            return self.reply(caller, &uid, Err("a binding to another node is under way"));
        }
        self.counter += 1;
        let (id, now, life) = (self.counter, self.now, self.replicas[at].life);
        let deadline = now + DEADLINE_MS;
        let flow = Flow {
            uid,
            key,
            node: node.clone(),
            callers: vec![caller],
            deadline,
            stage: Stage::ReadFirst,
            call: 0,
            grant: None,
            version: 0,
            attempt: 0,
            reads: 0,
            unclear: false,
        };
        let begins = (self.replicas[at].ready_since + SETTLE_MS).min(deadline - DEADLINE_MS / 2).max(now);
        self.replicas[at].flows.insert(id, flow);
        self.enter(begins - now, Event::Flow { replica: at, life, flow: id });
    }

    /// Sends the call of the flow's stage.
    pub(super) fn flow_goes_on(&mut self, at: usize, id: u64) {
        let made = self.flaw;
        let ready = self.replicas[at].ready || matches!(made, Some(Flaw::SleepsThroughTheLease | Flaw::NoFence));
        let unclear = self.replicas[at].flows.get(&id).filter(|flow| flow.stage == Stage::Write && !ready).map(|flow| flow.unclear);
        if let Some(unclear) = unclear {
            let outcome = if unclear { BindOutcome::Unknown } else { BindOutcome::Refused };
            return self.end_flow(at, id, Some(outcome), Err("not ready any more"));
        }
        let Some(flow) = self.replicas[at].flows.get_mut(&id) else { return };
        let what = match (flow.stage, &flow.grant) {
            (Stage::Write, Some(grant)) => Wanted::Write(BindWrite {
                key: flow.key.clone(),
                uid: flow.uid.clone(),
                grant: grant.clone(),
                version: Some(flow.version).filter(|_| !matches!(made, Some(Flaw::NoFence | Flaw::BindByName))),
                by_uid: made != Some(Flaw::BindByName),
            }),
            _ => Wanted::Read(flow.key.clone()),
        };
        if let (Wanted::Write(_), Some(Trap::Pause(ms))) = (&what, self.trap) {
            // The flow goes on where it was, when the process does.
            self.trap = None;
            self.say(|| format!("gangplank {at} is stopped for {ms} ms, before a Binding is sent"));
            let (until, life) = (self.now + ms, self.replicas[at].life);
            self.replicas[at].stop_until(until);
            self.schedulers[at].paused_until = until;
            return self.enter(ms, Event::Flow { replica: at, life, flow: id });
        }
        self.send(at, id, what);
    }

    fn send(&mut self, at: usize, id: u64, what: Wanted) {
        self.counter += 1;
        let (call, now, life) = (self.counter, self.now, self.replicas[at].life);
        let write = matches!(what, Wanted::Write(_));
        let wrong = |failure| if write { Called::Write(Err(failure)) } else { Called::Read(Err(failure)) };
        let Some(flow) = self.replicas[at].flows.get_mut(&id) else { return };
        flow.call = call;
        let last = if flow.stage == Stage::ReadBack { now + CALL_MS / 2 } else { flow.deadline };
        let end = last.min(now + CALL_MS);
        self.enter(end.saturating_sub(now), Event::Called { replica: at, life, flow: id, call, result: wrong(Failure::Unclear) });
        let faults = if self.calm { 0 } else { self.scenario.rates.api };
        let (mut travel, mut reply) = (self.dice.between(1, 15), Some(self.dice.between(1, 15)));
        if self.dice.chance(faults) {
            let back = self.dice.between(1, 20);
            match self.dice.below(6) {
                0 => return self.enter(back, Event::Called { replica: at, life, flow: id, call, result: wrong(Failure::Throttled) }),
                // 500, and nothing was done; the next two were.
                1 => return self.enter(back, Event::Called { replica: at, life, flow: id, call, result: wrong(Failure::Unclear) }),
                2 => return, // Lost on the way.
                3 => reply = None,
                4 => self.enter(back, Event::Called { replica: at, life, flow: id, call, result: wrong(Failure::Unclear) }),
                _ => {
                    travel = if self.dice.chance(200) { self.dice.between(1000, LATE_MS) } else { self.dice.between(100, 3000) };
                    reply = None;
                }
            }
        }
        if let Wanted::Write(sent) = &what {
            let uid = sent.uid.clone();
            self.say(|| format!("gangplank {at} sends a Binding of {uid}"));
            match self.trap.take() {
                Some(Trap::Kill(ms)) => {
                    travel = self.dice.between(1, SETTLE_MS);
                    self.kill_replica(at);
                    self.enter(ms, Event::StartReplica { replica: at });
                }
                Some(Trap::Delete) => {
                    travel = self.dice.between(100, 3000);
                    self.delete_pod(&uid, By::User);
                }
                other => self.trap = other,
            }
        }
        self.calls.insert(call, Call { replica: at, life, flow: id, what, reply });
        self.enter(travel, Event::Arrives { call });
    }

    /// The API server does what it was asked.
    pub(super) fn arrives(&mut self, call: u64) {
        let Some(Call { replica, life, flow, what, reply }) = self.calls.remove(&call) else { return };
        let sender = &self.replicas[replica];
        // What a dead process had sent lands within a moment, or its connection was closed before.
        if sender.life != life || !sender.alive {
            let died = sender.crashed_at;
            if self.now > died + SETTLE_MS * 9 / 10 {
                return;
            }
        }
        let result = match what {
            Wanted::Read(key) => Called::Read(Ok(self.store.read(&key).map(Box::new))),
            Wanted::Write(write) => Called::Write(self.land(replica, &write)),
        };
        if let Some(reply) = reply {
            self.enter(reply, Event::Called { replica, life, flow, call, result });
        }
    }

    fn land(&mut self, by: usize, write: &BindWrite) -> Result<(), Failure> {
        let mut write = write.clone();
        let record = write.grant.containers.clone();
        if self.flaw == Some(Flaw::RecordAfterBinding) {
            write.grant.containers.clear();
        }
        let written = self.store.bind(&write);
        self.say(|| format!("Binding of {} to {} by gangplank {by}: {written:?}", write.uid, write.grant.node));
        if written.is_ok() {
            // The second call of this museum piece is lost as often as any.
            if self.flaw == Some(Flaw::RecordAfterBinding) && !self.dice.chance(self.scenario.rates.api) {
                let grant = Grant { containers: record, ..write.grant.clone() };
                let _ = self.store.change(&write.uid, |pod| pod.recorded = Some(grant));
            }
            self.landed(&write);
        }
        written
    }

    /// An answer, or none in time.
    pub(super) fn called(&mut self, at: usize, id: u64, call: u64, result: Called) {
        let Some(flow) = self.replicas[at].flows.get_mut(&id).filter(|flow| flow.call == call) else { return };
        flow.call = 0;
        match result {
            Called::Read(read) => self.was_read(at, id, read),
            Called::Write(written) => self.was_written(at, id, written),
        }
    }

    fn was_read(&mut self, at: usize, id: u64, read: Result<Option<Box<(Pod, u64)>>, Failure>) {
        let now = self.now;
        let Some(flow) = self.replicas[at].flows.get_mut(&id) else { return };
        let (stage, unclear) = (flow.stage, flow.unclear);
        let read = match read {
            Ok(read) => read,
            Err(failure) => {
                let pause = if failure == Failure::Throttled { THROTTLED_MS } else { backoff(flow.reads) };
                flow.reads += 1;
                let until = if stage == Stage::ReadBack { now } else { flow.deadline };
                if now + pause < until && flow.reads < ATTEMPTS_MAX {
                    let life = self.replicas[at].life;
                    return self.enter(pause, Event::Flow { replica: at, life, flow: id });
                }
                return match stage {
                    Stage::ReadFirst => self.end_flow(at, id, None, Err("not read")),
                    Stage::ReadBack => self.end_flow(at, id, Some(BindOutcome::Unknown), Err("unknown")),
                    Stage::ReadAgain | Stage::Write => self.write_again(at, id),
                };
            }
        };
        let standing = self.standing(at, id, read);
        match (stage, standing) {
            (Stage::ReadFirst, Err(why)) => self.end_flow(at, id, None, Err(why)),
            (Stage::ReadFirst, Ok(Some(read))) => self.ask_to_bind(at, id, &read),
            (Stage::ReadFirst, Ok(None)) => self.end_flow(at, id, None, Ok(())),
            (_, Err(why)) => self.end_flow(at, id, Some(BindOutcome::Refused), Err(why)),
            (_, Ok(None)) => self.end_flow(at, id, Some(BindOutcome::Bound), Ok(())),
            (Stage::ReadBack, Ok(Some(_))) if unclear => self.end_flow(at, id, Some(BindOutcome::Unknown), Err("unknown")),
            (Stage::ReadBack, Ok(Some(_))) => self.end_flow(at, id, Some(BindOutcome::Refused), Err("not written")),
            (Stage::ReadAgain | Stage::Write, Ok(Some(read))) => {
                if let Some(flow) = self.replicas[at].flows.get_mut(&id) {
                    flow.version = read.1;
                }
                self.write_again(at, id);
            }
        }
    }

    /// What the read says about the request: unbound still, bound there already (none), or stale.
    fn standing(&mut self, at: usize, id: u64, read: Option<Box<(Pod, u64)>>) -> Result<Option<(Pod, u64)>, &'static str> {
        let Some(flow) = self.replicas[at].flows.get(&id) else { return Err("no flow") };
        let (uid, key, node) = (flow.uid.clone(), flow.key.clone(), flow.node.clone());
        let by_name = self.flaw == Some(Flaw::BindByName);
        let Some(read) = read.filter(|read| read.0.uid == uid || by_name) else {
            let held = self.replicas[at].engine.book().holder(&uid).is_some_and(|holder| holder.key == key);
            if held {
                self.tell(at, Input::PodDeleted(uid));
            }
            return Err("no such pod");
        };
        match &read.0.node {
            Some(bound) if *bound == node => Ok(None),
            Some(_) => Err("bound elsewhere"),
            None if read.0.deleting => Err("being deleted"),
            None => Ok(Some(*read)),
        }
    }

    fn ask_to_bind(&mut self, at: usize, id: u64, read: &(Pod, u64)) {
        let Some(node) = self.replicas[at].flows.get(&id).map(|flow| flow.node.clone()) else { return };
        let pod = self.as_read(&read.0);
        match self.tell(at, Input::Bind(BindQuery { pod, node })) {
            Answer::Bind(BindAnswer::Write(order)) => {
                if let Some(flow) = self.replicas[at].flows.get_mut(&id) {
                    (flow.stage, flow.grant, flow.version, flow.attempt) = (Stage::Write, Some(order.grant), read.1, 0);
                }
                let life = self.replicas[at].life;
                self.enter(0, Event::Flow { replica: at, life, flow: id });
            }
            Answer::Bind(BindAnswer::AlreadyBound) => self.end_flow(at, id, None, Ok(())),
            Answer::Bind(BindAnswer::Refused(_)) => self.end_flow(at, id, None, Err("refused")),
            _ => self.end_flow(at, id, None, Err("not ready")),
        }
    }

    fn was_written(&mut self, at: usize, id: u64, written: Result<(), Failure>) {
        let now = self.now;
        let Some(flow) = self.replicas[at].flows.get_mut(&id) else { return };
        let pause = match written {
            Ok(()) => return self.end_flow(at, id, Some(BindOutcome::Bound), Ok(())),
            Err(Failure::NotFound) if !flow.unclear => return self.end_flow(at, id, Some(BindOutcome::Refused), Err("not found")),
            Err(Failure::Throttled) => THROTTLED_MS,
            Err(Failure::Unclear) => {
                flow.unclear = true;
                backoff(flow.attempt)
            }
            Err(Failure::Conflict | Failure::NotFound) => 0,
        };
        let life = self.replicas[at].life;
        let Some(flow) = self.replicas[at].flows.get_mut(&id) else { return };
        flow.reads = 0;
        let enough = now + pause + CALL_MS / 4 >= flow.deadline || flow.attempt >= ATTEMPTS_MAX;
        flow.stage = if enough { Stage::ReadBack } else { Stage::ReadAgain };
        self.enter(if enough { 0 } else { pause }, Event::Flow { replica: at, life, flow: id });
    }

    fn write_again(&mut self, at: usize, id: u64) {
        let life = self.replicas[at].life;
        let Some(flow) = self.replicas[at].flows.get_mut(&id) else { return };
        flow.attempt += 1;
        flow.stage = Stage::Write;
        self.enter(0, Event::Flow { replica: at, life, flow: id });
    }

    fn end_flow(&mut self, at: usize, id: u64, outcome: Option<BindOutcome>, reply: Result<(), &'static str>) {
        let Some(flow) = self.replicas[at].flows.remove(&id) else { return };
        if let Some(outcome) = outcome {
            let (outcome, reply): End = match outcome {
                BindOutcome::Unknown if self.flaw == Some(Flaw::ForgetOnTimeout) => (BindOutcome::Refused, reply),
                outcome => (outcome, reply),
            };
            self.say(|| format!("gangplank {at}: Binding of {} to {}: {outcome:?}, {reply:?}", flow.uid, flow.node));
            self.tell(at, Input::BindOutcome { uid: flow.uid.clone(), node: flow.node.clone(), outcome });
        }
        if reply.is_ok() {
            self.check_said_bound(&flow.uid, &flow.node);
        }
        for caller in flow.callers {
            self.reply(caller, &flow.uid, reply);
        }
    }

    fn reply(&mut self, caller: Caller, uid: &PodUid, reply: Result<(), &'static str>) {
        let (scheduler, life, call) = caller;
        let after = self.dice.between(1, 3);
        self.enter(after, Event::Bound { scheduler, life, uid: uid.clone(), call, error: reply.err() });
    }

    /// Bindings that may land yet, whoever sent them.
    pub(super) fn flying(&self) -> impl Iterator<Item = (usize, u64, &BindWrite)> {
        self.calls.values().filter_map(|call| match &call.what {
            Wanted::Write(write) => Some((call.replica, call.life, write)),
            Wanted::Read(_) => None,
        })
    }
}

/// 20 ms doubling to 320 ms.
fn backoff(attempt: u32) -> Ms {
    20 << attempt.min(4)
}
