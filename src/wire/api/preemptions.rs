//! The ledger of preemption: for everybody, and for one that made room.

use serde::Serialize;

use crate::engine::{Engine, Eviction};
use crate::model::Time;

/// Whose room was taken for whom, the newest last.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreemptionsView {
    /// One entry a victim; the last 512 since the start of this process.
    pub preemptions: Vec<PreemptionView>,
}

/// One victim.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::Eviction")]
pub struct PreemptionView {
    pub at_unix_ms: u64,
    pub victim: String,
    pub pods: Vec<String>,
    pub preemptor: String,
    pub why: String,
    /// Accelerator-seconds since the last checkpoint.
    pub lost_seconds: u64,
}

/// What explain says of one that made room.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeRoomView {
    /// The last time that it did.
    #[serde(flatten)]
    pub last: PreemptionView,
    /// When it is expected back, and on what that rests.
    pub back: String,
}

/// A pod that made room and is gone.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GoneView {
    /// `namespace/name`.
    pub pod: String,
    /// `evicted`
    pub state: &'static str,
    /// For whom, and why.
    pub made_room: MadeRoomView,
}

impl PreemptionsView {
    /// The ledger.
    pub fn of(engine: &Engine) -> Self {
        Self { preemptions: engine.evictions().map(PreemptionView::from).collect() }
    }
}

impl From<&Eviction> for PreemptionView {
    fn from(entry: &Eviction) -> Self {
        Self {
            at_unix_ms: entry.at.unix_ms(),
            victim: entry.victim.clone(),
            pods: entry.pods.iter().map(ToString::to_string).collect(),
            preemptor: entry.preemptor.clone(),
            why: entry.why.clone(),
            lost_seconds: entry.cost.lost_ms / 1000,
        }
    }
}

impl MadeRoomView {
    /// Of a pod, or of the one before it that it stands for.
    pub fn of(engine: &Engine, now: Time, namespace: &str, name: &str) -> Option<Self> {
        let last = engine.made_room(namespace, name)?;
        Some(Self { last: last.into(), back: engine.comes_back(now, last) })
    }
}

impl GoneView {
    /// Of a pod that is not there.
    pub fn of(engine: &Engine, now: Time, namespace: &str, name: &str) -> Option<Self> {
        let made_room = MadeRoomView::of(engine, now, namespace, name)?;
        Some(Self { pod: format!("{namespace}/{name}"), state: "evicted", made_room })
    }
}
