//! A Gangplank process: an engine, and what its shell does around it. It decides when questions may be answered, and
//! what of the watches becomes which input; the rules are those of `cluster::intake`, `host::ready` and `cluster::lease`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::flow::{Flow, SETTLE_MS};
use super::museum::Flaw;
use super::run::Run;
use super::store::{Failure, Kind, News};
use super::timeline::{Event, Ms, Watcher};
use crate::engine::{Engine, Input};
use crate::model::{Budget, Node, NodeName, NodeReport, Pod, PodUid};

/// What came back of a call to the API server.
#[derive(Clone, Debug)]
pub(super) enum Called {
    Read(Result<Option<Box<(Pod, u64)>>, Failure>),
    Write(Result<(), Failure>),
}

/// One replica, and the process in it.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) engine: Engine,
    pub(super) alive: bool,
    pub(super) life: u64,
    pub(super) crashed_at: Ms,
    /// Stopped, and not dead, until then.
    pub(super) paused_until: Ms,
    /// How far its clock is ahead of the API server's.
    pub(super) ahead_ms: u64,
    pub(super) ready: bool,
    pub(super) ready_since: Ms,
    listed: BTreeSet<Kind>,
    /// Every feed is in contact.
    in_contact: bool,
    voice: bool,
    /// The lease as last seen to change: who held it, how often it had been renewed, and when that was seen.
    lease_seen: (usize, u64, Ms),
    nodes: BTreeMap<NodeName, Arc<Node>>,
    reports: BTreeMap<NodeName, Arc<NodeReport>>,
    /// Pods as it was told of them last.
    pub(super) pods: BTreeMap<PodUid, Arc<Pod>>,
    /// Owners that we suspended, by UID, as it was told of them last.
    pub(super) suspended: BTreeSet<Arc<str>>,
    /// Budgets as it was told of them last, by name.
    pub(super) budgets: BTreeMap<Arc<str>, Budget>,
    /// A relist under way: what was read, and what the watch delivered since.
    relist: Option<Relist>,
    pub(super) flows: BTreeMap<u64, Flow>,
    /// A plan is about to be made.
    pub(super) planning: bool,
    pub(super) touched: BTreeMap<PodUid, Ms>,
}

#[derive(Debug, Default)]
struct Relist {
    pods: Vec<(Arc<Pod>, u64)>,
    nodes: Vec<Arc<Node>>,
    pods_since: BTreeMap<PodUid, Option<(Arc<Pod>, u64)>>,
    nodes_since: BTreeSet<NodeName>,
}

/// Gangplank's limits, as `serve` sets them.
const TICK_MS: Ms = 1000;
const LOOK_MS: Ms = 1000;
pub(super) const LEASE_MS: Ms = 15_000;
const SILENCE_MAX_MS: Ms = 15_000;
const CATCH_UP_MS: Ms = 2000;

impl Replica {
    pub(super) fn new(engine: Engine, ahead_ms: u64) -> Self {
        Self {
            engine,
            alive: false,
            life: 0,
            crashed_at: 0,
            paused_until: 0,
            ahead_ms,
            ready: false,
            ready_since: 0,
            listed: BTreeSet::new(),
            in_contact: true,
            voice: false,
            lease_seen: (usize::MAX, 0, 0),
            nodes: BTreeMap::new(),
            reports: BTreeMap::new(),
            pods: BTreeMap::new(),
            suspended: BTreeSet::new(),
            budgets: BTreeMap::new(),
            relist: None,
            flows: BTreeMap::new(),
            planning: false,
            touched: BTreeMap::new(),
        }
    }

    pub(super) fn stop_until(&mut self, until: Ms) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Ready for long enough to bind.
    pub(super) fn has_settled(&self, now: Ms) -> bool {
        self.ready && now > self.ready_since + SETTLE_MS
    }

    /// What of a node and its agent's word becomes the engine's node.
    fn joined(&self, name: &NodeName, flaw: Option<Flaw>) -> Option<Node> {
        let mut node = Node::clone(self.nodes.get(name)?);
        node.report = self.reports.get(name).map(|report| NodeReport::clone(report));
        if let Some(report) = node.report.as_mut().filter(|_| flaw == Some(Flaw::ReportUnread)) {
            report.actual.clear();
        }
        node.ready |= flaw == Some(Flaw::LostNodeUnseen);
        Some(node)
    }
}

impl Run {
    pub(super) fn start_replica(&mut self, at: usize) {
        let guarantees = self.flaw != Some(Flaw::GuaranteeUnread);
        let engine = Engine::new(if guarantees { &self.scenario.profiles } else { &self.scenario.unguaranteed }.clone());
        let replica = &mut self.replicas[at];
        if replica.alive {
            return;
        }
        let (life, ahead_ms, crashed_at) = (replica.life + 1, replica.ahead_ms, replica.crashed_at);
        *replica = Replica { alive: true, life, crashed_at, ..Replica::new(engine, ahead_ms) };
        replica.voice = self.lease.is_none() || self.flaw == Some(Flaw::DeafToTheLease);
        self.say(|| format!("gangplank {at} starts"));
        self.follow(Watcher::Replica(at), self.kinds());
        self.decisions.begin(at);
        let offset = self.dice.below(1000);
        self.enter(TICK_MS + offset, Event::Tick { replica: at, life });
        if self.lease.is_some() {
            let after = self.dice.below(LOOK_MS);
            self.enter(after, Event::Voice { replica: at, life });
        }
        let period = self.relist_period();
        self.enter(period, Event::Relist { replica: at, life });
    }

    pub(super) fn kill_replica(&mut self, at: usize) {
        let now = self.now;
        let replica = &mut self.replicas[at];
        if replica.alive {
            (replica.alive, replica.ready, replica.crashed_at, replica.paused_until) = (false, false, now, 0);
            replica.flows.clear();
            self.say(|| format!("gangplank {at} dies"));
        }
    }

    /// A process that was stopped may have slept through its lease: it looks at its own clock before it speaks.
    pub(super) fn lapse(&mut self, at: usize) {
        let now = self.now;
        let replica = &mut self.replicas[at];
        let lapsed = self.lease.is_some() && replica.voice && now >= replica.lease_seen.2 + LEASE_MS;
        if lapsed && !matches!(self.flaw, Some(Flaw::SleepsThroughTheLease | Flaw::DeafToTheLease)) {
            replica.voice = false;
            self.judge_ready(at);
        }
    }

    pub(super) fn tick(&mut self, at: usize, life: u64) {
        self.lapse(at);
        self.contact(at);
        if self.flaw != Some(Flaw::NoDeadline) {
            self.tell(at, Input::Tick);
        }
        self.enter(TICK_MS, Event::Tick { replica: at, life });
    }

    /// A feed that has been broken for too long closes the door.
    fn contact(&mut self, at: usize) {
        let now = self.now;
        let silent = |(to, _): &(Watcher, Kind)| *to == Watcher::Replica(at);
        let broken = self.streams.iter().filter(|(key, _)| silent(key)).any(|(_, stream)| stream.broken_for(now) >= SILENCE_MAX_MS);
        self.replicas[at].in_contact = !broken;
        self.judge_ready(at);
    }

    pub(super) fn look_for_voice(&mut self, at: usize, life: u64) {
        let (now, flaw) = (self.now, self.flaw);
        if let Some(lease) = &self.lease {
            let replica = &mut self.replicas[at];
            if (replica.lease_seen.0, replica.lease_seen.1) != (lease.holder, lease.renewals) {
                replica.lease_seen = (lease.holder, lease.renewals, now);
            }
            let fresh = now < replica.lease_seen.2 + LEASE_MS;
            replica.voice = (lease.holder == at && fresh) || flaw == Some(Flaw::DeafToTheLease);
        }
        self.judge_ready(at);
        self.enter(LOOK_MS, Event::Voice { replica: at, life });
    }

    fn judge_ready(&mut self, at: usize) {
        let (now, early, kinds) = (self.now, self.flaw == Some(Flaw::ReadyTooEarly), self.kinds());
        let replica = &mut self.replicas[at];
        let complete = kinds.iter().all(|kind| replica.listed.contains(kind) || (early && *kind == Kind::Pods));
        let ready = complete && replica.in_contact && replica.voice;
        if replica.ready == ready {
            return;
        }
        (replica.ready, replica.ready_since) = (ready, now);
        self.say(|| format!("gangplank {at} {}", if ready { "is ready" } else { "is not ready any more" }));
        self.tell(at, if ready { Input::Synced } else { Input::Desynced });
    }

    /// A whole list: what it does not name is gone.
    pub(super) fn listed_to_replica(&mut self, at: usize, kind: Kind, list: Vec<News>) {
        let keeps = self.flaw == Some(Flaw::KeepWhatTheListLacks);
        let mut gone: Vec<News> = Vec::new();
        if !keeps {
            let replica = &self.replicas[at];
            let named = |wanted: &dyn Fn(&News) -> bool| list.iter().any(wanted);
            match kind {
                Kind::Pods => gone.extend(
                    (replica.pods.keys().chain(replica.engine.told_of()))
                        .filter(|uid| !named(&|news| matches!(news, News::Pod(pod, _) if pod.uid == **uid)))
                        .map(|uid| News::PodGone(uid.clone())),
                ),
                Kind::Nodes => gone.extend(
                    (replica.nodes.keys())
                        .filter(|name| !named(&|news| matches!(news, News::Node(node) if node.name == **name)))
                        .map(|name| News::NodeGone(name.clone())),
                ),
                Kind::Reports | Kind::Quotas | Kind::Gangs | Kind::Budgets => {}
            }
        }
        for news in list.into_iter().chain(gone) {
            self.news_to_replica(at, news);
        }
        self.replicas[at].listed.insert(kind);
        self.judge_ready(at);
    }

    /// News of a watch becomes an input.
    pub(super) fn news_to_replica(&mut self, at: usize, news: News) {
        match news {
            News::Pod(pod, version) => self.pod_to_replica(at, &pod, version),
            News::PodGone(uid) => {
                let replica = &mut self.replicas[at];
                replica.pods.remove(&uid);
                if let Some(relist) = &mut replica.relist {
                    relist.pods_since.insert(uid.clone(), None);
                }
                let goes = self.decisions.is_victim(&uid, self.now);
                self.tell(at, Input::PodDeleted(uid));
                if goes && self.flaw == Some(Flaw::FreedForAnybody) && self.replicas[at].ready {
                    self.tell(at, Input::Desynced);
                    self.tell(at, Input::Synced);
                }
            }
            News::Node(node) => {
                let name = node.name.clone();
                self.blip(at, &node);
                let replica = &mut self.replicas[at];
                replica.nodes.insert(name.clone(), node);
                if let Some(relist) = &mut replica.relist {
                    relist.nodes_since.insert(name.clone());
                }
                self.node_to_replica(at, &name);
            }
            News::NodeGone(name) => {
                let replica = &mut self.replicas[at];
                replica.nodes.remove(&name);
                if let Some(relist) = &mut replica.relist {
                    relist.nodes_since.insert(name.clone());
                }
                self.tell(at, Input::NodeDeleted(name));
            }
            News::Report(name, report) => {
                let replica = &mut self.replicas[at];
                match report {
                    Some(report) => drop(replica.reports.insert(name.clone(), report)),
                    None => drop(replica.reports.remove(&name)),
                }
                self.node_to_replica(at, &name);
            }
            News::Quota(quota) => drop(self.tell(at, Input::QuotaApplied(quota))),
            News::Gang(spec) => {
                let suspended = &mut self.replicas[at].suspended;
                if spec.suspended_by_us {
                    suspended.insert(spec.id.uid.clone());
                } else {
                    suspended.remove(&spec.id.uid);
                }
                self.tell(at, Input::GangApplied(spec));
            }
            News::GangGone(id) => drop(self.tell(at, Input::GangDeleted(id))),
            News::Budget(budget) => {
                let replica = &mut self.replicas[at];
                replica.budgets.insert(budget.name.clone(), budget.clone());
                if self.flaw != Some(Flaw::BudgetUnread) {
                    self.tell(at, Input::BudgetApplied(budget));
                }
            }
        }
    }

    fn pod_to_replica(&mut self, at: usize, pod: &Arc<Pod>, version: u64) {
        let flaw = self.flaw;
        let replica = &mut self.replicas[at];
        if let Some(relist) = &mut replica.relist {
            relist.pods_since.insert(pod.uid.clone(), Some((pod.clone(), version)));
        }
        // The watch selects pods that are not finished: one that leaves the selection arrives as a deletion.
        let finished = pod.phase.is_finished();
        if finished && flaw == Some(Flaw::FinishedStillCounts) {
            return;
        }
        if finished || (pod.deleting && flaw == Some(Flaw::DeletingIsGone)) {
            replica.pods.remove(&pod.uid);
            self.tell(at, Input::PodDeleted(pod.uid.clone()));
            return;
        }
        replica.pods.insert(pod.uid.clone(), pod.clone());
        let pod = self.as_read(pod);
        self.tell(at, Input::PodApplied(pod));
    }

    /// What the wire parser makes of a pod.
    pub(super) fn as_read(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        match self.flaw {
            Some(Flaw::BareGangName) => {
                if let Some(gang) = &mut pod.gang {
                    gang.id.key.namespace = Arc::from("default");
                }
            }
            Some(Flaw::MembersAlone) => pod.gang = None,
            Some(Flaw::MemberByMember) if pod.node.is_some() => pod.gang = None,
            Some(Flaw::NeverUnread) => pod.never_preempts = false,
            _ => {}
        }
        pod
    }

    fn node_to_replica(&mut self, at: usize, name: &NodeName) {
        if let Some(node) = self.replicas[at].joined(name, self.flaw) {
            self.tell(at, Input::NodeApplied(node));
        }
    }

    /// The museum's over-eager healer.
    fn blip(&mut self, at: usize, node: &Node) {
        if self.flaw != Some(Flaw::EvictOnBlip) {
            return;
        }
        let devices = |node: &Node| node.pools.iter().map(|pool| pool.allocatable).sum::<u32>();
        let fewer = self.replicas[at].nodes.get(&node.name).is_some_and(|before| devices(before) > devices(node));
        let there = self.store.pods().filter(|pod| pod.node.as_ref() == Some(&node.name) && !pod.request.is_empty());
        let victims: Vec<PodUid> = there.filter(|_| fewer).map(|pod| pod.uid.clone()).collect();
        for uid in victims {
            self.evicted_by_us(&uid);
        }
    }

    pub(super) fn relist(&mut self, at: usize, life: u64) {
        let period = self.relist_period();
        self.enter(period, Event::Relist { replica: at, life });
        if !self.replicas[at].ready {
            return;
        }
        let pods = self.store.list(Kind::Pods).into_iter().filter_map(|news| match news {
            News::Pod(pod, version) if !pod.phase.is_finished() => Some((pod, version)),
            _ => None,
        });
        let pods = pods.collect();
        let nodes = self.store.nodes().cloned().map(Arc::new).collect();
        self.replicas[at].relist = Some(Relist { pods, nodes, ..Relist::default() });
        let late = self.dice.below(500);
        self.enter(CATCH_UP_MS + late, Event::Compare { replica: at, life });
    }

    /// Of what the watch delivered meanwhile, the newer one counts.
    pub(super) fn compare(&mut self, at: usize) {
        let over = self.flaw == Some(Flaw::RelistOverNews);
        let Some(relist) = self.replicas[at].relist.take() else { return };
        let mut pods: BTreeMap<PodUid, (Arc<Pod>, u64)> = relist.pods.into_iter().map(|entry| (entry.0.uid.clone(), entry)).collect();
        for (uid, seen) in relist.pods_since.into_iter().filter(|_| !over) {
            match seen {
                Some(seen) if seen.0.phase.is_finished() => drop(pods.remove(&uid)),
                Some(seen) if pods.get(&uid).is_none_or(|listed| listed.1 <= seen.1) => drop(pods.insert(uid, seen)),
                Some(_) => {}
                None => drop(pods.remove(&uid)),
            }
        }
        let flaw = self.flaw;
        let replica = &mut self.replicas[at];
        let mut nodes: BTreeMap<NodeName, Arc<Node>> = relist
            .nodes
            .into_iter()
            .filter(|node| over || !relist.nodes_since.contains(&node.name))
            .map(|node| (node.name.clone(), node))
            .collect();
        for name in relist.nodes_since.into_iter().filter(|_| !over) {
            if let Some(node) = replica.nodes.get(&name) {
                nodes.insert(name, node.clone());
            }
        }
        replica.pods.extend(pods.iter().map(|(uid, (pod, _))| (uid.clone(), pod.clone())));
        replica.nodes = nodes;
        let names: Vec<NodeName> = replica.nodes.keys().cloned().collect();
        let nodes = names.iter().filter_map(|name| replica.joined(name, flaw)).collect();
        let pods = pods.into_values().map(|(pod, _)| self.as_read(&pod)).collect();
        self.say(|| format!("gangplank {at} relists"));
        let before = self.replicas[at].engine.census().drift;
        self.tell(at, Input::Relisted { pods, nodes });
        self.check_drift(at, &before);
    }
}
