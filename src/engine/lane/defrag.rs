//! Defragmentation as a plan: which work moves so that a block stands empty, and what keeps it shut. A survey is taken while
//! the engine is looked at, and the plan is made from it afterwards, while the engine goes on. Nothing here moves anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::roles::Roster;
use super::units::{Takeable, ways_out};
use super::{Lane, Step};
use crate::book::{Book, Holder, HolderState, NodeEntry};
use crate::engine::{Engine, PodRef};
use crate::gang::life::Phase;
use crate::gang::{self, Context};
use crate::model::{GangId, GangKind, NodeName, OwnerRef, Pod, PodKey, PodUid, Reason, Refusal, Time};
use crate::policy::Rules;
use crate::preempt::rules::Standing;
use crate::preempt::{Block, Clearance, Cost, Move, Opening, Return, Wanted, blocks, open};
use crate::topology::fabric::Fabric;

/// Sets of units that are looked at, at most.
const SETS_MAX: usize = 128;
/// What stays is named so often in a refusal.
const NAMED: usize = 3;

/// Everything that a plan is made from.
#[derive(Debug)]
pub struct Survey {
    wanted: Wanted,
    blocks: Result<Vec<Block>, Refusal>,
    book: Book,
    fabric: Fabric,
    now: Time,
    rules: Arc<Rules>,
    takeable: Takeable,
    /// By unit.
    returns: Vec<Option<Comeback>>,
    stays: Vec<Staying>,
    /// Of pods that run: what each can be suspended through.
    owners: BTreeMap<PodUid, OwnerRef>,
}

/// A unit as it is planned anew.
#[derive(Debug)]
struct Comeback {
    id: GangId,
    roster: Roster,
    rules: Arc<Rules>,
}

/// How a block is opened, or why it is not.
#[derive(Clone, Debug)]
pub struct Defrag {
    /// What was asked for, in words.
    pub wanted: String,
    /// The moves.
    pub plan: Result<DefragPlan, Refusal>,
    /// What cannot move, of what is on nodes that could have been opened.
    pub stays: Vec<Staying>,
}

/// Moves that open a block.
#[derive(Clone, Debug)]
pub struct DefragPlan {
    /// Which block: `a whole node`, `rack r7 of block b2`.
    pub block: String,
    /// Its nodes.
    pub nodes: Vec<NodeName>,
    /// Their domains, for people.
    pub domains: String,
    /// In the order in which they are planned again; none if it stands open.
    pub moves: Vec<DefragMove>,
    /// Pods that are going already and whose room is counted on.
    pub awaited: Vec<PodKey>,
    /// Lost work and pods.
    pub cost: Cost,
    /// Thousandths of accelerators that change hands.
    pub moved_milli: u64,
    /// Everybody has a place to go.
    pub moves_only: bool,
    /// No better set exists; see [`Opening::proven`].
    pub proven: bool,
}

/// One that moves, or is evicted.
#[derive(Clone, Debug)]
pub struct DefragMove {
    /// `gang ns/train`, `pod ns/web-0`.
    pub who: String,
    /// `gang`, `surplus` (above a gang's minimum) or `pod`.
    pub kind: &'static str,
    /// Its pods.
    pub pods: Vec<PodKey>,
    /// Where they are.
    pub from: Vec<NodeName>,
    /// Where there is room for them with the block closed; none: it is evicted and waits.
    pub to: Option<Vec<NodeName>>,
    /// The highest priority among its pods.
    pub priority: i32,
    /// Thousandths of accelerators.
    pub milli: u64,
    /// What it loses.
    pub cost: Cost,
    /// Owners all of whose running pods go: they are suspended, so that no pod counts as failed.
    pub suspend: Vec<OwnerRef>,
    /// Pods that are evicted each by itself.
    pub evict: Vec<PodRef>,
    /// How long before that its profile wants it to know.
    pub notice: Duration,
}

/// What cannot move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staying {
    /// `gang ns/train`, `pod ns/web-0`.
    pub who: String,
    /// Where it is, of the nodes that could have been opened.
    pub nodes: BTreeSet<NodeName>,
    /// Why.
    pub why: String,
}

impl Engine {
    /// What a plan for a block is made from. Work of a lower priority than this may move.
    pub fn survey(&self, now: Time, wanted: Wanted, priority: i32) -> Survey {
        let mover = Standing { priority, ..Standing::default() };
        let nobody = GangId::alone(PodKey::new("", "defrag"), "".into());
        let blocks = blocks(&self.book, &self.fabric, &wanted);
        let takeable = self.takeable(now, &nobody, mover);
        let returns = takeable.units.iter().zip(&takeable.of).map(|(unit, (id, kind))| self.comeback(&unit.pods, id, kind)).collect();
        let stays = blocks.as_ref().map(|blocks| self.staying(blocks, &takeable, priority)).unwrap_or_default();
        let nobodys = Pod::pending(PodUid::new(""), PodKey::new("", "defrag"));
        let (book, fabric, rules) = (self.book.clone(), self.fabric.clone(), self.rules(&nobodys));
        let owners = self.suspendable_owners();
        Survey { wanted, blocks, book, fabric, now, rules, takeable, returns, stays, owners }
    }

    /// The priority that a number, or a priority class, stands for.
    pub fn priority_of(&self, text: &str) -> Option<i32> {
        text.parse().ok().or_else(|| self.priority_classes.get(text).map(|class| class.value))
    }

    fn comeback(&self, pods: &[PodUid], id: &GangId, kind: &str) -> Option<Comeback> {
        let roster = self.roster(id, pods, usize::MAX);
        // A pod above the minimum has to stay with its gang where that wishes so: it comes back when its gang finds room there.
        let alone = kind == "surplus" && !roster.wishes.required.is_empty();
        let rules = self.rules(roster.first()?);
        (!alone).then(|| Comeback { id: id.clone(), roster, rules })
    }

    /// Who is on nodes of blocks and may not move.
    fn staying(&self, blocks: &[Block], takeable: &Takeable, priority: i32) -> Vec<Staying> {
        let movable: BTreeSet<&PodUid> = takeable.units.iter().flat_map(|unit| &unit.pods).chain(&takeable.going).collect();
        let nodes: BTreeSet<&NodeName> = blocks.iter().flat_map(|block| &block.nodes).collect();
        let mut stays: BTreeMap<String, Staying> = BTreeMap::new();
        for holder in self.book.holders().filter(|holder| nodes.contains(&holder.node) && !movable.contains(&holder.uid)) {
            let gang = self.lane.gang_of.get(&holder.uid).filter(|id| id.kind != GangKind::Alone);
            let who = gang.map_or_else(|| format!("pod {}", holder.key), |id| format!("gang {id}"));
            let fresh = || Staying { who: who.clone(), nodes: BTreeSet::new(), why: self.why_it_stays(holder, takeable, priority) };
            stays.entry(who.clone()).or_insert_with(fresh).nodes.insert(holder.node.clone());
        }
        stays.into_values().collect()
    }

    fn why_it_stays(&self, holder: &Holder, takeable: &Takeable, priority: i32) -> String {
        let Some(pod) = self.pods.get(&holder.uid).map(|record| &record.pod).filter(|_| !Lane::stands_in(&holder.uid)) else {
            return "it is held for work that is on its way".into();
        };
        let gang = self.lane.gang(&pod.uid).filter(|(id, _)| id.kind != GangKind::Alone).map(|(_, gang)| gang);
        let mates = gang.map_or_else(|| vec![pod.uid.clone()], |gang| gang.at(|step| step == Step::Bound));
        let pods: Vec<&Pod> = mates.iter().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod).collect();
        let highest = pods.iter().map(|pod| pod.priority).max().unwrap_or(pod.priority);
        if holder.state != HolderState::Bound || gang.is_some_and(|gang| gang.phase != Phase::Bound || gang.tally.planned > 0) {
            let unknown = gang.is_some_and(|gang| gang.phase == Phase::Collecting);
            return if unknown { "its gang is not complete, or nobody has said how large it is" } else { "it is on its way to its place" }
                .into();
        }
        if highest >= priority {
            return format!("its priority {highest} is not below {priority}");
        }
        if self.lane.awaited.contains_key(&pod.uid) {
            return "it makes room for other work already".into();
        }
        match pods.iter().find(|pod| self.stays(pod)).map(|pod| &pod.controller) {
            Some(None) => return "it has no controller: nobody would create it again".into(),
            Some(Some(owner)) => return format!("its {} would create it again on the same node", owner.kind),
            None => {}
        }
        let budget = self.budgets.values().zip(&takeable.allowances).find_map(|(budget, allowed)| {
            let under = pods.iter().filter(|pod| pod.key.namespace == budget.namespace && budget.covers(&pod.labels)).count();
            (under > *allowed as usize).then(|| {
                format!("PodDisruptionBudget {}/{} lets {allowed} of its pods go, and it has {under}", budget.namespace, budget.name)
            })
        });
        budget.unwrap_or_else(|| "no rule lets it be moved".into())
    }
}

impl Comeback {
    fn again<'a>(&'a self, fabric: &'a Fabric, now: Time) -> Return<'a> {
        Return { context: context(fabric, &self.rules, now), group: self.roster.group(&self.id) }
    }
}

impl Survey {
    /// Makes the plan.
    pub fn plan(mut self) -> Defrag {
        let wanted = self.wanted.to_string();
        let plan = match std::mem::replace(&mut self.blocks, Ok(Vec::new())) {
            Ok(blocks) => self.opened(&blocks).ok_or_else(|| self.shut(&blocks)),
            Err(refusal) => Err(refusal),
        };
        Defrag { wanted, plan, stays: self.stays }
    }

    fn opened(&mut self, blocks: &[Block]) -> Option<DefragPlan> {
        let Self { book, fabric, now, rules, takeable, returns, owners, .. } = self;
        let notice = |unit: usize| returns[unit].as_ref().map_or(Duration::ZERO, |back| back.rules.profile.preemption.notice);
        let returns: Vec<Option<Return<'_>>> = returns.iter().map(|back| Some(back.as_ref()?.again(fabric, *now))).collect();
        let Takeable { units, allowances, going, .. } = &*takeable;
        let context = context(fabric, rules, *now);
        let ask = Clearance { context, blocks, units, returns: &returns, allowances, going, sets_max: SETS_MAX };
        let opening = open(book, &ask)?;
        let moves_only = opening.moves_only();
        let Opening { block, nodes, domains, moves, awaited, cost, proven, .. } = opening;
        let key = |uid: &PodUid| book.holder(uid).map(|holder| holder.key.clone());
        let one = |Move { unit, to }: Move| {
            let moved = &units[unit];
            let held: Vec<&Holder> = moved.pods.iter().filter_map(|uid| book.holder(uid)).collect();
            let going: BTreeSet<PodUid> = moved.pods.iter().cloned().collect();
            let (suspend, evict) = ways_out(owners, &going);
            let evict = evict.into_iter().filter_map(|uid| Some(PodRef { key: key(uid)?, uid: uid.clone() }));
            DefragMove {
                who: moved.title.clone(),
                kind: takeable.of[unit].1,
                pods: moved.pods.iter().filter_map(key).collect(),
                from: distinct(held.iter().map(|holder| &holder.node)),
                to: to.map(|plan| distinct(plan.members.iter().map(|planned| &planned.node))),
                priority: moved.reach.priority,
                milli: held.iter().flat_map(|holder| &holder.takes).map(|take| u64::from(take.milli())).sum(),
                cost: moved.cost(),
                suspend: suspend.into_iter().collect(),
                evict: evict.collect(),
                notice: notice(unit),
            }
        };
        let moves: Vec<DefragMove> = moves.into_iter().map(one).collect();
        let moved_milli = moves.iter().map(|moved| moved.milli).sum();
        let (block, awaited) = (blocks[block].title.clone(), awaited.iter().filter_map(key).collect());
        Some(DefragPlan { block, nodes, domains, moves, awaited, cost, moved_milli, moves_only, proven })
    }

    /// Why none of the blocks can be opened.
    fn shut(&mut self, blocks: &[Block]) -> Refusal {
        let mark = self.book.checkpoint();
        for uid in self.takeable.units.iter().flat_map(|unit| &unit.pods).chain(&self.takeable.going) {
            self.book.release(uid);
        }
        let whole = |block: &Block| {
            let free = |name: &&NodeName| self.book.node(name.as_str()).is_some_and(|entry| is_free(entry, block));
            block.nodes.iter().filter(free).count().min(block.members as usize)
        };
        // The one that lacks least; of equal ones the first.
        let nearest = blocks.iter().map(|block| (whole(block), block)).min_by_key(|(whole, block)| block.members as usize - whole);
        let kept = blocks.iter().any(|block| {
            let mark = self.book.checkpoint();
            let offered: BTreeSet<&str> = block.nodes.iter().map(NodeName::as_str).collect();
            let context = Context { offered: Some(&offered), ..context(&self.fabric, &self.rules, self.now) };
            let fits = gang::plan(&mut self.book, context, &block.group()).is_ok();
            self.book.rollback(mark);
            fits
        });
        self.book.rollback(mark);
        let (reason, needed) = (Reason::BlockShut, self.wanted.to_string());
        if kept {
            let there = "disruption budgets let too few pods go at once".to_owned();
            return Refusal { reason, needed, there, remedy: "raise what they allow, or open it in parts".into() };
        }
        let Some((whole, block)) = nearest else {
            return Refusal { reason, needed, there: "there is no such block".into(), remedy: "name another".into() };
        };
        let of = block.members;
        let there = format!("with all that may move gone, {whole} of {of} nodes would be whole in what comes nearest, {}", block.title);
        let on_it = |stays: &&Staying| stays.nodes.iter().any(|node| block.nodes.contains(node));
        let named: Vec<String> =
            self.stays.iter().filter(on_it).take(NAMED).map(|stays| format!("{} ({})", stays.who, stays.why)).collect();
        let others = self.stays.iter().filter(on_it).count().saturating_sub(NAMED);
        let others = if others > 0 { format!(" and {others} others") } else { String::new() };
        let remedy = if named.is_empty() {
            "mend or uncordon nodes, or ask for fewer".to_owned()
        } else {
            format!("what stays has to go first: {}{others}", named.join(", "))
        };
        Refusal { reason, needed, there, remedy }
    }
}

/// Whether nobody holds anything of a node.
fn is_free(entry: &NodeEntry, block: &Block) -> bool {
    let request = &block.pod.request;
    request.resources().into_iter().all(|resource| entry.pool(resource).is_some_and(|pool| pool.free >= request.whole_of(resource)))
}

fn context<'a>(fabric: &'a Fabric, rules: &'a Rules, now: Time) -> Context<'a> {
    Context { fabric, profile: &rules.profile, scorer: &rules.scorer, offered: None, state: HolderState::Planned, now }
}

/// Each once, in the order in which they come.
fn distinct<'a>(names: impl Iterator<Item = &'a NodeName>) -> Vec<NodeName> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).cloned().collect()
}
