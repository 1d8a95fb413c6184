//! What `/api/v1/defrag` answers: moves that open a block, who stays, and why there are none.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RefusalView;
use crate::engine::{Defrag, DefragMove, DefragPlan, PodRef};
use crate::model::{NodeName, OwnerRef, PodKey, PodUid};

/// A block that could be opened, and by which moves; or why not.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefragView {
    /// What was asked for, in words.
    pub wanted: String,
    #[serde(flatten)]
    plan: DefragOutcome,
    /// What cannot move, of what is on nodes that could have been opened; the first of them.
    pub stays: Vec<StayingView>,
    /// How many more there are.
    pub stays_left_out: usize,
}

/// One or the other.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum DefragOutcome {
    Plan(DefragPlanView),
    Refusal(RefusalView),
}

/// The moves.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::DefragPlan")]
pub struct DefragPlanView {
    pub block: String,
    pub nodes: Vec<Arc<str>>,
    pub domains: String,
    /// Everybody has a place to go; else those without `to` are evictions.
    pub moves_only: bool,
    pub proven: bool,
    pub lost_seconds: u64,
    pub pods: u32,
    pub gangs: usize,
    pub accelerators_milli: u64,
    pub moves: Vec<DefragMoveView>,
    pub awaited: Vec<String>,
}

/// One that moves.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::DefragMove")]
pub struct DefragMoveView {
    pub who: String,
    pub kind: &'static str,
    pub pods: Vec<String>,
    pub from: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Arc<str>>>,
    pub priority: i32,
    pub accelerators_milli: u64,
    pub lost_seconds: u64,
    pub notice_seconds: u64,
    pub suspend: Vec<OwnerView>,
    pub evict: Vec<EvictView>,
}

/// An object that is suspended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub struct OwnerView {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// A pod that is evicted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub struct EvictView {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl OwnerView {
    fn of(owner: &OwnerRef) -> Self {
        let text = |text: &str| text.to_owned();
        let (namespace, name) = (text(&owner.key.namespace), text(&owner.key.name));
        Self { api_version: text(&owner.api_version), kind: text(&owner.kind), namespace, name, uid: text(&owner.uid) }
    }

    /// As the engine knows it.
    pub fn owner(&self) -> OwnerRef {
        OwnerRef {
            api_version: self.api_version.as_str().into(),
            kind: self.kind.as_str().into(),
            key: PodKey::new(self.namespace.as_str(), self.name.as_str()),
            uid: self.uid.as_str().into(),
        }
    }
}

impl EvictView {
    fn of(pod: &PodRef) -> Self {
        Self { namespace: pod.key.namespace.to_string(), name: pod.key.name.to_string(), uid: pod.uid.as_str().to_owned() }
    }

    /// As the engine knows it.
    pub fn pod(&self) -> PodRef {
        PodRef { key: PodKey::new(self.namespace.as_str(), self.name.as_str()), uid: PodUid::new(self.uid.as_str()) }
    }
}

/// What cannot move.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::Staying")]
pub struct StayingView {
    pub who: String,
    pub nodes: Vec<Arc<str>>,
    pub why: String,
}

/// What stays is listed so often.
const STAYS_MAX: usize = 64;

impl From<Defrag> for DefragView {
    fn from(defrag: Defrag) -> Self {
        let stays_left_out = defrag.stays.len().saturating_sub(STAYS_MAX);
        let stays = defrag.stays.into_iter().take(STAYS_MAX);
        let stays = stays.map(|stays| StayingView { who: stays.who, nodes: names(stays.nodes.iter()), why: stays.why });
        let plan = match &defrag.plan {
            Ok(plan) => DefragOutcome::Plan(plan.into()),
            Err(refusal) => DefragOutcome::Refusal(refusal.into()),
        };
        Self { wanted: defrag.wanted, plan, stays: stays.collect(), stays_left_out }
    }
}

impl From<&DefragPlan> for DefragPlanView {
    fn from(plan: &DefragPlan) -> Self {
        let one = |moved: &DefragMove| DefragMoveView {
            who: moved.who.clone(),
            kind: moved.kind,
            pods: moved.pods.iter().map(ToString::to_string).collect(),
            from: names(moved.from.iter()),
            to: moved.to.as_ref().map(|to| names(to.iter())),
            priority: moved.priority,
            accelerators_milli: moved.milli,
            lost_seconds: moved.cost.lost_ms / 1000,
            notice_seconds: moved.notice.as_secs(),
            suspend: moved.suspend.iter().map(OwnerView::of).collect(),
            evict: moved.evict.iter().map(EvictView::of).collect(),
        };
        Self {
            block: plan.block.clone(),
            nodes: names(plan.nodes.iter()),
            domains: plan.domains.clone(),
            moves_only: plan.moves_only,
            proven: plan.proven,
            lost_seconds: plan.cost.lost_ms / 1000,
            pods: plan.cost.pods,
            gangs: plan.moves.iter().filter(|moved| moved.kind == "gang").count(),
            accelerators_milli: plan.moved_milli,
            moves: plan.moves.iter().map(one).collect(),
            awaited: plan.awaited.iter().map(ToString::to_string).collect(),
        }
    }
}

fn names<'a>(nodes: impl Iterator<Item = &'a NodeName>) -> Vec<Arc<str>> {
    nodes.map(|node| node.as_str().into()).collect()
}
