//! Places for gangs whose turn it is: the most urgent first, each whole or not at all. A gang of one is judged as filter
//! would judge it, with every node that kube-scheduler can be expected to offer.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::closed::is_open;
use super::queues::plan_within;
use super::roles::{self, Roster};
use super::{OFFERED, Step, Turn};
use crate::book::{Holder, HolderState, Load, NodeEntry, Shape, ShapeKey, takes};
use crate::engine::decider::{reference, shape};
use crate::engine::filter::impossible;
use crate::engine::{Effect, Engine, Event, Output, Trace};
use crate::gang::life::{NOMINATION, Phase};
use crate::gang::{Context, Plan, Planned};
use crate::model::{Constraints, GangId, GangKind, NodeName, Parts, Pod, PodUid, Refusal, Time, TopologyWishes};

/// Plans made or refused for one [`crate::engine::Input::Plan`], so that no question waits long.
const AT_ONCE: usize = 8;
/// And gangs whose refusal is known before they are looked at.
const KNOWN_AT_ONCE: usize = 256;

/// What was refused a moment ago: the same again needs no second look as long as nothing got free.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alike {
    shape: ShapeKey,
    members: usize,
    needed: u32,
    namespace: Arc<str>,
    constraints: Constraints,
    wishes: TopologyWishes,
    load: (u64, u64, i32),
    profile: Option<Arc<str>>,
    priority_class: Option<Arc<str>>,
    /// Since when room is kept for somebody, and whether it ends before that is needed.
    kept: Option<(Time, bool)>,
    /// In its queue's order: who comes before others takes from more of them.
    rank: u128,
}

impl Engine {
    /// Whether [`crate::engine::Input::Plan`] would find anything to do.
    pub fn wants_to_plan(&self) -> bool {
        let refused = &self.lane.refused;
        self.synced && (!self.lane.ready.is_empty() || refused.has_front() || (self.lane.gained && !refused.is_empty()))
    }

    /// Plans the gangs whose turn it is.
    pub(in crate::engine) fn plan_next(&mut self, now: Time) -> Output {
        if !self.synced {
            return Output::default();
        }
        if std::mem::take(&mut self.lane.gained) {
            let again = self.lane.refused.look_again(self.lane.kept_turn());
            again.iter().for_each(|turn| self.take_turn(now, &turn.id));
        }
        for kind in self.lane.refused.without_front(|id| self.lane.ready.contains(id)) {
            self.look_at_next(now, kind);
        }
        self.review_kept_nodes();
        let (mut trace, mut looked_at, mut known) = (None, 0, 0);
        while looked_at < AT_ONCE && known < KNOWN_AT_ONCE {
            self.queues.count(&self.book, self.profiles.classes());
            let Some(turn) = self.lane.ready.pop(&self.queues) else { break };
            let front_of = self.lane.refused.leads(&turn.id);
            // For whom room is kept, others' refusals say nothing.
            let alike = self.alike(now, &turn.id).filter(|_| !self.is_room_kept_for(&turn.id));
            if let Some((kind, refusal)) = alike.as_ref().and_then(|alike| self.lane.refused.known(alike)) {
                known += 1;
                let refusal = refusal.clone();
                front_of.into_iter().filter(|led| *led != kind).for_each(|led| self.look_at_next(now, led));
                let kept = self.keep_room(now, &turn.id, &refusal);
                let kind = Some(kind).filter(|_| kept.is_none());
                self.refuse_gang(now, turn, kind, &kept.unwrap_or(refusal));
                continue;
            }
            looked_at += 1;
            match self.plan_with_freed(now, &turn.id) {
                Ok(()) => {
                    self.lane.starts(&turn);
                    front_of.into_iter().for_each(|kind| self.look_at_next(now, kind));
                    trace = self.trace_of(&turn.id);
                    self.advance(now, &turn.id);
                    // A plan of many took its time already.
                    if self.lane.gangs.get(&turn.id).is_some_and(|gang| gang.members.len() > AT_ONCE) {
                        break;
                    }
                }
                // A search takes its time, too.
                Err(refusal) if self.preempts(now, &turn.id, &refusal) => {
                    front_of.into_iter().for_each(|kind| self.look_at_next(now, kind));
                    break;
                }
                Err(refusal) => {
                    let noted = alike.and_then(|alike| self.lane.refused.note(alike, &refusal));
                    if front_of != noted.map(|(kind, _)| kind) {
                        front_of.into_iter().for_each(|kind| self.look_at_next(now, kind));
                    }
                    if let Some((kind, true)) = noted {
                        self.tell_kind(now, kind, &refusal);
                    }
                    let kept = self.keep_room(now, &turn.id, &refusal);
                    let kind = noted.map(|(kind, _)| kind).filter(|_| kept.is_none());
                    self.refuse_gang(now, turn, kind, &kept.unwrap_or(refusal));
                }
            }
        }
        Output { trace, ..Output::default() }
    }

    /// The first of a kind has a place, or is gone: the next is looked at in its stead.
    fn look_at_next(&mut self, now: Time, kind: usize) {
        while let Some(turn) = self.lane.refused.next_of(kind) {
            self.take_turn(now, &turn.id);
            if self.lane.ready.contains(&turn.id) {
                return;
            }
        }
    }

    /// Those who wait behind the first of their kind hear of another reason.
    fn tell_kind(&mut self, now: Time, kind: usize, refusal: &Refusal) {
        let others: Vec<GangId> = self.lane.refused.of(kind).map(|turn| turn.id.clone()).collect();
        others.iter().for_each(|id| self.tell_gang(now, id, refusal));
    }

    fn trace_of(&self, id: &GangId) -> Option<Arc<Trace>> {
        let uid = self.lane.gangs.get(id)?.members.keys().next()?;
        self.pods.get(uid)?.trace.clone()
    }

    fn alike(&self, now: Time, id: &GangId) -> Option<Alike> {
        let gang = self.lane.gangs.get(id)?;
        let uids = gang.at(|step| step == Step::Waiting);
        let pod = &self.pods.get(uids.first()?)?.pod;
        // Members that differ, that join others, or whose volumes lie somewhere, are looked at each time.
        let alike = |other: &Pod| roles::alike(pod, other) && other.claims.is_empty();
        (gang.tally.planned + gang.tally.bound == 0 && uids.iter().all(|uid| self.pods.get(uid).is_some_and(|record| alike(&record.pod))))
            .then_some(())?;
        Some(Alike {
            shape: Shape::of(&pod.request)?.key(),
            members: uids.len(),
            needed: self.lane.size(id, gang).map_or(u32::MAX, |(_, min)| min),
            namespace: pod.key.namespace.clone(),
            constraints: pod.constraints.clone(),
            wishes: pod.topology.clone(),
            load: (pod.cpu_milli, pod.memory_bytes, pod.priority),
            profile: pod.profile.clone(),
            priority_class: pod.priority_class.clone(),
            kept: self.passes_kept_room(now, pod),
            rank: self.entry(now, gang).rank,
        })
    }

    /// Notes why a gang has no plan, where its members' explain finds it, and tells people once.
    pub(super) fn refuse_gang(&mut self, now: Time, turn: Turn, kind: Option<usize>, refusal: &Refusal) {
        let id = turn.id.clone();
        *self.counts.refused.entry(refusal.reason.code()).or_default() += 1;
        self.lane.refused.insert(turn, kind);
        self.tell_gang(now, &id, refusal);
        self.clear_nominations(&id);
    }

    /// Nominations that nothing stands behind any more: of a process before this one, or whose withdrawal was lost. kube-scheduler keeps
    /// the room of gated pods, too, and does not look at these: nobody else would clear them.
    fn clear_nominations(&mut self, id: &GangId) {
        let Some(gang) = self.lane.gangs.get(id) else { return };
        for (uid, _) in gang.members.iter().filter(|(_, step)| **step == Step::Waiting) {
            let stale = self.pods.get(uid).map(|record| &record.pod).filter(|pod| pod.gated && pod.nominated.is_some());
            self.effects.extend(stale.map(|pod| Effect::Nominate { pod: reference(pod), node: None }));
        }
    }

    /// Says why a gang waits: in explain, in its members' conditions, and to people once for each reason.
    pub(super) fn tell_gang(&mut self, now: Time, id: &GangId, refusal: &Refusal) {
        let trace = Arc::new(Trace { at: now, verb: "plan", refusal: Some(refusal.clone()), ..Trace::default() });
        let Some(gang) = self.lane.gangs.get_mut(id) else { return };
        if gang.members.len() == 1 && gang.refusal.as_ref() == Some(refusal) {
            return; // Nothing of it is new: of many that wait, each is looked at whenever a pod ends.
        }
        let news = gang.refusal.as_ref().is_none_or(|told| told.reason != refusal.reason);
        gang.refusal = Some(refusal.clone());
        let waiting = gang.at(|step| step == Step::Waiting);
        if let Some(first) = waiting.first().and_then(|uid| self.pods.get(uid)).filter(|_| news) {
            let note = format!("{}: needs {}; {}; {}", refusal.reason, refusal.needed, refusal.there, refusal.remedy);
            self.effects.push(Effect::Event(Event { pod: reference(&first.pod), reason: "GangWaiting", note, warning: true }));
        }
        for uid in waiting {
            if let Some(record) = self.pods.get_mut(&uid) {
                record.trace = Some(trace.clone());
                if record.pod.gated && record.said.as_ref() != Some(&refusal.reason) {
                    record.said = Some(refusal.reason.clone());
                    self.effects.push(Effect::Condition { pod: reference(&record.pod), reason: refusal.reason.clone() });
                }
            }
        }
    }

    /// Finds places for the members of a gang that have none, and holds them. `offered` are the names that kube-scheduler
    /// passed for a member, where it was asked.
    pub(super) fn plan_gang(&mut self, now: Time, id: &GangId, offered: Option<&[&str]>) -> Result<(), Refusal> {
        let Some(gang) = self.lane.gangs.get(id) else { return Ok(()) };
        let waiting = gang.at(|step| step == Step::Waiting);
        if id.kind == GangKind::Alone {
            return match waiting.first().and_then(|uid| self.pods.get(uid)).map(|record| self.with_volumes(&record.pod).into_owned()) {
                Some(pod) => self.plan_pod(now, id, &pod),
                None => Ok(()),
            };
        }
        let joining = gang.tally.planned + gang.tally.bound > 0;
        let needed = self.lane.size(id, gang).map_or(usize::MAX, |(_, min)| min as usize);
        let known = gang.offered.as_ref().filter(|(at, _)| !joining && offered.is_none() && now - *at <= OFFERED);
        let known: Option<Vec<NodeName>> = known.map(|(_, nodes)| nodes.iter().cloned().collect());
        let all = self.roster(id, &waiting, usize::MAX);
        // Fewer can start: those that are left join when there is room, each as it can.
        let fewer = if joining { 1 } else { needed };
        if let Err(refusal) = self.entitled(&all.by_role().collect::<Vec<_>>()) {
            if fewer >= waiting.len() {
                return Err(refusal);
            }
            let some = self.roster(id, &waiting, fewer);
            self.entitled(&some.by_role().collect::<Vec<_>>())?;
            return self.place(now, id, &some, offered);
        }
        if let Some(nodes) = known {
            // What one member cannot leave, the others can go to.
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            if self.place(now, id, &all, Some(&names)).is_ok() {
                return Ok(());
            }
        }
        if joining && self.take_vacancies(now, id, &all) {
            return Ok(());
        }
        match self.place(now, id, &all, offered) {
            Err(_) if fewer < waiting.len() => {
                let some = self.roster(id, &waiting, fewer);
                self.place(now, id, &some, offered)
            }
            placed => placed,
        }
    }

    pub(super) fn place(&mut self, now: Time, id: &GangId, roster: &Roster, offered: Option<&[&str]>) -> Result<(), Refusal> {
        let Some(lead) = roster.first().cloned() else { return Ok(()) };
        let made = self.make_plan(now, id, roster, offered, (&lead, HolderState::Planned))?;
        self.lane.epoch += 1;
        let epoch = self.lane.epoch;
        let nodes: BTreeSet<&NodeName> = made.members.iter().map(|planned| &planned.node).collect();
        let title = format!("gang {id}: {} members on {} nodes, in {}", made.members.len(), nodes.len(), made.domains);
        let ranks: std::collections::BTreeMap<&PodUid, u32> = roster.members.iter().map(|(uid, rank)| (uid, *rank)).collect();
        for planned in &made.members {
            let uid = &planned.member.uid;
            let rank = ranks.get(uid).copied().unwrap_or(planned.rank);
            let lines = vec![title.clone(), format!("rank {rank}")];
            let (chosen, grant) = (Some(planned.node.clone()), Some(planned.grant.clone()));
            self.placed(now, id, uid, Trace { at: now, verb: "plan", passed: 1, chosen, grant, lines, ..Trace::default() });
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.ranks.insert(uid.clone(), rank);
            }
        }
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            (gang.epoch, gang.domains, gang.refusal) = (epoch, made.domains, None);
            let first = matches!(gang.phase, Phase::Queued | Phase::Collecting | Phase::Preempting { .. });
            if first {
                (gang.phase, gang.replanned) = (Phase::Reserved { until: now + NOMINATION }, 0);
                gang.nominated_late.clear();
                let lead = roster.members.first().and_then(|(uid, _)| self.pods.get(uid)).map(|record| reference(&record.pod));
                self.effects.extend(lead.map(|pod| Effect::Event(Event { pod, reason: "GangPlanned", note: title, warning: false })));
            } else {
                self.joined(now, id);
            }
        }
        Ok(())
    }

    /// Places for all of a roster near the members that have theirs, held in the book.
    pub(super) fn make_plan(
        &mut self,
        now: Time,
        id: &GangId,
        roster: &Roster,
        offered: Option<&[&str]>,
        (lead, state): (&Pod, HolderState),
    ) -> Result<Plan, Refusal> {
        let limits = self.box_limits(&roster.by_role().collect::<Vec<_>>());
        let rules = self.rules(lead);
        let mut wishes = roster.wishes.clone();
        let mut names: Option<BTreeSet<&str>> = offered.map(|names| names.iter().copied().collect());
        let anchor = self.anchor(id);
        let everywhere: BTreeSet<NodeName>;
        if let Some(node) = &anchor {
            everywhere = self.fabric.nodes().map(|(name, _)| name.clone()).collect();
            let names = names.get_or_insert_with(|| everywhere.iter().map(NodeName::as_str).collect());
            self.stay_with(node, &mut wishes, names);
            if lead.constraints.apart {
                let taken = self.nodes_of(id);
                names.retain(|name| !taken.contains(*name));
            }
        }
        // Members that join those who run go on: their gang holds its nodes already.
        let kept = if anchor.is_none() { self.kept_from(now, id, lead) } else { BTreeSet::new() };
        let open: Vec<NodeName>;
        if !kept.is_empty() {
            open = self.book.nodes().map(|entry| entry.node.name.clone()).filter(|name| !kept.contains(name)).collect();
            let open: BTreeSet<&str> = open.iter().map(NodeName::as_str).collect();
            names = Some(names.map_or_else(|| open.clone(), |names| names.intersection(&open).copied().collect()));
        }
        let group = crate::gang::Group { wishes: &wishes, ..roster.group(id) };
        let context = Context { fabric: &self.fabric, profile: &rules.profile, scorer: &rules.scorer, offered: names.as_ref(), state, now };
        plan_within(&mut self.book, context, &group, &limits, self.profiles.classes())
    }

    /// Members got places beside those that have theirs: they are let go at once.
    fn joined(&mut self, now: Time, id: &GangId) {
        if let Some(gang) = self.lane.gangs.get(id) {
            let phase = gang.phase.joined(&self.lane.members(id, gang, now), now);
            self.lane.gangs.entry(id.clone()).and_modify(|gang| gang.phase = phase);
        }
        self.release_members(id);
    }

    /// A member has a place: it is nominated there, which wakes it if it waits in kube-scheduler. A gated one is woken by
    /// its release.
    fn placed(&mut self, now: Time, id: &GangId, uid: &PodUid, trace: Trace) {
        let Some(node) = self.place_of(uid) else { return };
        let Some(record) = self.pods.get_mut(uid) else { return };
        (record.refused, record.trace) = (None, Some(Arc::new(trace)));
        debug_assert!(now >= record.first_seen_at);
        let pod = &self.pods[uid].pod;
        let (known, spared) = (pod.nominated.as_ref() == Some(&node), !self.nominates(pod));
        let nominated = known || spared;
        let woken_by_release = pod.gated && spared;
        if !known && !woken_by_release {
            self.effects.push(Effect::Nominate { pod: reference(pod), node: Some(node) });
        } else if !pod.gated {
            self.effects.push(Effect::Touch(reference(pod)));
        }
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            gang.set(uid, Some(Step::Planned { nominated }));
        }
    }

    /// A node of a member that has a place already: those who join stay near it.
    fn anchor(&self, id: &GangId) -> Option<NodeName> {
        self.nodes_of(id).into_iter().next()
    }

    /// Nodes of members that have a place already.
    fn nodes_of(&self, id: &GangId) -> BTreeSet<NodeName> {
        let Some(gang) = self.lane.gangs.get(id) else { return BTreeSet::new() };
        let settled = gang.members.iter().filter(|(_, step)| matches!(step, Step::Bound | Step::Planned { .. }));
        settled.filter_map(|(uid, _)| self.book.holder(uid)).map(|holder| holder.node.clone()).collect()
    }

    /// Members that replace others join those that run: in the domains that the gang requires as a whole.
    fn stay_with(&self, node: &NodeName, wishes: &mut TopologyWishes, offered: &mut BTreeSet<&str>) {
        let rules = self.fabric.rules();
        let there = self.fabric.domains_of(node.as_str());
        for wish in wishes.required.iter().filter(|wish| wish.parts == Parts::Whole) {
            let Some(level) = rules.level_of(&wish.level) else { continue };
            offered.retain(|name| {
                if level == rules.levels.len() {
                    *name == node.as_str()
                } else {
                    self.fabric.domains_of(name).map(|at| at[level]) == there.map(|at| at[level])
                }
            });
        }
        wishes.required.retain(|wish| wish.parts == Parts::Whole);
        wishes.preferred.retain(|wish| wish.parts == Parts::Whole);
    }

    /// Gives places of members that are gone to those that replace them. True if all that wait got one.
    fn take_vacancies(&mut self, now: Time, id: &GangId, roster: &Roster) -> bool {
        let mut left = roster.members.len();
        for (uid, rank) in &roster.members {
            let Some(pod) = self.pods.get(uid).map(|record| record.pod.clone()) else { continue };
            let seats = self.lane.gangs.get(id).map(|gang| gang.vacant.clone()).unwrap_or_default();
            let suits = |seat: &Planned| takes(&pod.request, Some(&seat.grant)).1 && self.book.holder(&seat.member.uid).is_some();
            // Its own rank's place, if that is one of them.
            let own = seats.iter().position(|seat| seat.rank == *rank && suits(seat));
            let suits = own.or_else(|| seats.iter().position(suits));
            let Some(seat) = suits.map(|at| seats[at].clone()) else { continue };
            self.book.release(&seat.member.uid);
            self.promise_pod(now, &pod, seat.grant.clone());
            let (chosen, grant) = (Some(seat.node.clone()), Some(seat.grant.clone()));
            let lines = vec![format!("gang {id}: takes the place of rank {}, which is gone", seat.rank)];
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.vacant.retain(|other| other.member.uid != seat.member.uid);
                gang.ranks.insert(uid.clone(), seat.rank);
            }
            self.placed(now, id, uid, Trace { at: now, verb: "plan", passed: 1, chosen, grant, lines, ..Trace::default() });
            left -= 1;
        }
        if left < roster.members.len() {
            self.joined(now, id);
        }
        left == 0
    }

    /// Holds a grant as promised.
    pub(super) fn promise_pod(&mut self, now: Time, pod: &Pod, grant: crate::model::Grant) {
        let (takes, _) = takes(&pod.request, Some(&grant));
        self.book.set_holder(Holder {
            uid: pod.uid.clone(),
            key: pod.key.clone(),
            priority: pod.priority,
            node: grant.node.clone(),
            state: HolderState::Planned,
            grant: Some(grant),
            takes,
            load: Load::of(pod),
            changed_at: now,
        });
    }

    /// A place for a pod without company.
    fn plan_pod(&mut self, now: Time, id: &GangId, pod: &Pod) -> Result<(), Refusal> {
        let Some(shape) = shape(pod) else { return Err(impossible(pod)) };
        self.entitled(&[(pod, 1)])?;
        if !self.decides_by_filter(pod) {
            // In-tree scores shall matter to it: filter decides, and it needs no promise.
            self.effects.push(Effect::Release { pod: reference(pod), plan: None });
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.set(&pod.uid, Some(Step::Outside));
            }
            return Ok(());
        }
        let offered = u32::try_from(self.book.node_count()).unwrap_or(u32::MAX);
        let limits = self.box_limits(&[(pod, 1)]);
        let kept = self.kept_from(now, id, pod);
        let may = |entry: &NodeEntry| {
            is_open(entry, pod) && limits.iter().all(|limit| limit.allows(&entry.node.name)) && !kept.contains(&entry.node.name)
        };
        let (best, passed) = self.best_of_all(pod, &shape, may);
        let chosen = best.and_then(|node| self.chosen(pod, &shape, node.as_str()));
        let Some((grant, lines)) = chosen else {
            let fits = |entry: &NodeEntry| kept.contains(&entry.node.name) && is_open(entry, pod) && entry.grant(&shape).is_ok();
            let held_back = self.book.nodes().any(fits);
            return Err(self.kept_elsewhere(pod).filter(|_| held_back).unwrap_or_else(|| self.nowhere(pod, &shape)));
        };
        let chosen = Some(grant.node.clone());
        self.promise_pod(now, pod, grant.clone());
        self.lane.epoch += 1;
        let epoch = self.lane.epoch;
        let trace = Trace { at: now, verb: "plan", offered, passed, chosen, grant: Some(grant), lines, ..Trace::default() };
        self.placed(now, id, &pod.uid, trace);
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            (gang.epoch, gang.refusal, gang.phase) = (epoch, None, Phase::Reserved { until: now + NOMINATION });
        }
        Ok(())
    }

    /// The story of a pod without company that no node takes: every node is looked at for its own reason.
    fn nowhere(&mut self, pod: &Pod, shape: &Shape<'_>) -> Refusal {
        let nodes: Vec<NodeName> = self.book.nodes().filter(|entry| is_open(entry, pod)).map(|entry| entry.node.name.clone()).collect();
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let judged = self.judge(pod, shape, &names, true);
        self.no_node(pod, shape, &names, judged.refused())
    }
}
