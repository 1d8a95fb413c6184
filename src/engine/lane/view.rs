//! Gangs as people ask for them: who waits in which order and why, and where the members of one are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Gang, Step};
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::model::{GangId, GangKind, NodeName, Pod, PodKey, Refusal, ResourceName, Time};

/// How many holders are named.
const HOLDERS_TOLD: usize = 4;

/// One gang, as it is now.
#[derive(Clone, Debug)]
pub struct GangStatus {
    /// Which.
    pub id: GangId,
    /// How far it is.
    pub phase: Phase,
    /// The queue in which it waits, where the profile declares any.
    pub queue: Option<Arc<str>>,
    /// The priority of its pods.
    pub priority: i32,
    /// When its first pod was created.
    pub created_at: Time,
    /// How many members there will be, and how few can start; none while nobody knows.
    pub size: Option<(u32, u32)>,
    /// Where its plan has it.
    pub domains: String,
    /// Why it has no plan.
    pub refusal: Option<Refusal>,
    /// What was done so that it gets the nodes that it lacks.
    pub nodes_asked: Option<String>,
    /// By rank, then by name.
    pub members: Vec<MemberStatus>,
}

/// One member.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Its name.
    pub pod: PodKey,
    /// `outside`, `waiting`, `planned` or `bound`.
    pub state: &'static str,
    /// Which of its gang it is.
    pub rank: Option<u32>,
    /// Where it is, or will be.
    pub node: Option<NodeName>,
}

impl Engine {
    /// Every gang that is not bound: by queue, then by priority and age.
    pub fn queue(&self) -> Vec<GangStatus> {
        let mut waiting: Vec<_> = self.lane.gangs.iter().filter(|(_, gang)| gang.phase != Phase::Bound).collect();
        let place = |gang: &Gang| self.queues.rules().of(&gang.turn.id.key.namespace);
        waiting.sort_by(|(_, a), (_, b)| place(a).cmp(&place(b)).then_with(|| a.turn.cmp(&b.turn)));
        waiting.into_iter().filter_map(|(id, _)| self.status(id)).collect()
    }

    /// Gangs of a name, whatever their convention; gangs of one are pods, not gangs.
    pub fn gangs_named(&self, namespace: &str, name: &str) -> Vec<GangStatus> {
        let named = |id: &&GangId| &*id.key.namespace == namespace && &*id.key.name == name && id.kind != GangKind::Alone;
        self.lane.gangs.keys().filter(named).filter_map(|id| self.status(id)).collect()
    }

    /// Who holds most of what a pod asks for, in words: a line for each of its resources of which anything is held.
    pub fn held_by(&self, pod: &Pod) -> Vec<String> {
        let line = |resource: &ResourceName| {
            let mut held: BTreeMap<String, u64> = BTreeMap::new();
            for holder in self.book.holders() {
                let milli: u64 = holder.takes.iter().filter(|take| take.resource == *resource).map(|take| u64::from(take.milli())).sum();
                if milli > 0 {
                    let gang = self.lane.gang_of.get(&holder.uid).filter(|id| id.kind != GangKind::Alone);
                    *held.entry(gang.map_or_else(|| holder.key.to_string(), |id| format!("gang {id}"))).or_default() += milli;
                }
            }
            let mut most: Vec<(u64, String)> = held.into_iter().map(|(who, milli)| (milli, who)).collect();
            most.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.cmp(y)));
            let others = most.len().saturating_sub(HOLDERS_TOLD);
            most.truncate(HOLDERS_TOLD);
            let amount = |milli: u64| if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli} milli") };
            let mut parts: Vec<String> = most.into_iter().map(|(milli, who)| format!("{who} ({})", amount(milli))).collect();
            if others > 0 {
                parts.push(format!("{others} others"));
            }
            (!parts.is_empty()).then(|| format!("{resource}: {}", parts.join(", ")))
        };
        pod.request.resources().into_iter().filter_map(line).collect()
    }

    fn status(&self, id: &GangId) -> Option<GangStatus> {
        let gang = self.lane.gangs.get(id)?;
        let mut members: Vec<MemberStatus> = gang
            .members
            .iter()
            .filter_map(|(uid, step)| {
                let state = match step {
                    Step::Outside => "outside",
                    Step::Waiting => "waiting",
                    Step::Planned { .. } => "planned",
                    Step::Bound => "bound",
                    Step::Done => "done",
                };
                let pod = self.pods.get(uid)?.pod.key.clone();
                let node = self.book.holder(uid).map(|holder| holder.node.clone());
                Some(MemberStatus { pod, state, rank: self.rank(uid), node })
            })
            .collect();
        members.sort_by(|a, b| (a.rank.unwrap_or(u32::MAX), &a.pod).cmp(&(b.rank.unwrap_or(u32::MAX), &b.pod)));
        let missing = || Some(self.why_not(&self.pods.get(gang.members.keys().next()?)?.pod, id));
        let refusal = self
            .lane
            .refused
            .told(&gang.turn)
            .or(gang.refusal.as_ref())
            .cloned()
            .or_else(|| (gang.phase == Phase::Collecting).then(missing).flatten());
        Some(GangStatus {
            id: id.clone(),
            phase: gang.phase,
            queue: self.queues.rule(self.queues.rules().of(&id.key.namespace)).map(|rule| rule.name.clone()),
            priority: gang.turn.priority.0,
            created_at: gang.turn.created_at,
            size: self.lane.size(id, gang),
            domains: gang.domains.clone(),
            refusal,
            nodes_asked: self.nodes_asked(id),
            members,
        })
    }
}
