//! What `/api/v1/...` answers: our own JSON, in camelCase, stable within v1.

mod defrag;
mod preemptions;
mod starts;

use std::sync::Arc;

use serde::Serialize;

pub use defrag::{DefragMoveView, DefragPlanView, DefragView, EvictView, OwnerView, StayingView};
pub use preemptions::{GoneView, MadeRoomView, PreemptionView, PreemptionsView};
pub use starts::{StartView, StartsView};

use super::journal::Line;
use crate::book::{DeviceUse, Holder, PoolLedger, Take};
use crate::engine::{Engine, GangStatus, MemberStatus, QueueClass, QueueStatus, Trace};
use crate::model::{Amount, Device, DeviceShare, Grant, Health, Pool, Reason, Refusal, Time};
use crate::policy::QueueAmount;
use crate::topology::partitions::{self, Cut};

/// What is wrong with a request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The HTTP status, again.
    pub status: u16,
    /// For people.
    pub error: String,
}

/// The book's digest: equal for equal durable facts.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestView {
    /// Hexadecimal.
    pub digest: String,
}

/// The newest journal entries.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalView {
    /// Entries that are no longer kept; a replay needs zero.
    pub evicted: u64,
    /// Oldest first.
    pub entries: Vec<Line>,
}

/// Why the last decision on a pod came out as it did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::Trace")]
pub struct TraceView {
    pub at_unix_ms: u64,
    pub verb: &'static str,
    pub offered: u32,
    pub passed: u32,
    pub refused: Vec<RefusedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceView>,
    pub lines: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalView>,
}

/// A pod that asks for accelerators, as the engine sees it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// `namespace/name`.
    pub pod: String,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `waiting`, or the state of what it holds.
    pub state: &'static str,
    /// Where it is, or will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// Of a pod that waits: who holds most of what it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<String>,
    /// Of a pod whose gang lacks nodes: what was done so that there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_asked: Option<String>,
    /// The last time that it, or one before it of the same job, made room for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_room: Option<MadeRoomView>,
    /// The last decision on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceView>,
}

impl PodView {
    /// The view of one pod, if the engine knows it.
    pub fn of(engine: &Engine, now: Time, namespace: &str, name: &str) -> Option<Self> {
        let pod = engine.pod(namespace, name)?;
        let holder = engine.book().holder(&pod.uid);
        Some(Self {
            pod: pod.key.to_string(),
            uid: pod.uid.as_str().into(),
            state: holder.map_or("waiting", |holder| holder.state.name()),
            node: holder.map(|holder| holder.node.as_str().into()),
            held_by: if holder.is_none() { engine.held_by(pod) } else { Vec::new() },
            nodes_asked: engine.nodes_asked_for(&pod.uid),
            made_room: MadeRoomView::of(engine, now, namespace, name),
            trace: engine.explain(&pod.uid).as_deref().map(TraceView::from),
        })
    }
}

/// Who holds what, and who waits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BookView {
    /// As [`DigestView::digest`], of the same moment.
    pub digest: String,
    /// By UID.
    pub holders: Vec<HolderView>,
    /// Pods that hold nothing.
    pub waiting: Vec<WaitingView>,
}

/// What one pod holds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct HolderView {
    pub pod: String,
    pub uid: Arc<str>,
    pub node: Arc<str>,
    pub state: &'static str,
    pub devices: Vec<TakeView>,
}

/// A device, or a part of one, that is held; without id where nobody knows which.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct TakeView {
    pub resource: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    pub milli: u32,
}

/// A pod that waits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct WaitingView {
    pub pod: String,
    pub uid: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl BookView {
    /// The view of the whole book.
    pub fn of(engine: &Engine) -> Self {
        let take = |take: &Take| TakeView {
            resource: take.resource.as_str().into(),
            id: take.device.as_ref().map(|id| id.as_str().into()),
            milli: take.milli(),
        };
        let holder = |holder: &Holder| HolderView {
            pod: holder.key.to_string(),
            uid: holder.uid.as_str().into(),
            node: holder.node.as_str().into(),
            state: holder.state.name(),
            devices: holder.takes.iter().map(take).collect(),
        };
        let waits = engine.waiting().map(|(pod, reason)| WaitingView {
            pod: pod.key.to_string(),
            uid: pod.uid.as_str().into(),
            reason: reason.map(Reason::code),
        });
        Self { digest: engine.digest(), holders: engine.book().holders().map(holder).collect(), waiting: waits.collect() }
    }
}

/// Gangs that are not bound yet, in the order of their turns; or those of one name.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GangsView {
    /// A pod without company is a gang of one.
    pub gangs: Vec<GangView>,
}

/// The queues of the profile, and what each has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuesView {
    /// Parents before their children; none where the profile declares none.
    pub queues: Vec<QueueView>,
}

/// One queue.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::QueueStatus")]
pub struct QueueView {
    pub queue: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Arc<str>>,
    pub weight: u32,
    pub goes_by: &'static str,
    pub waiting: usize,
    pub had_accelerator_s: u64,
    pub share_permille: u64,
    pub weight_permille: u64,
    pub classes: Vec<QueueClassView>,
}

/// One class in a queue.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::QueueClass")]
pub struct QueueClassView {
    pub class: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guaranteed: Option<AmountView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<AmountView>,
    pub in_use_milli: u64,
    pub borrowed_milli: u64,
}

/// So many devices, or so many boxes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at policy::QueueAmount")]
pub enum AmountView {
    Devices(u32),
    Boxes(u32),
}

impl QueuesView {
    /// Of an engine.
    pub fn of(engine: &Engine) -> Self {
        let amount = |amount: QueueAmount| match amount {
            QueueAmount::Devices(devices) => AmountView::Devices(devices),
            QueueAmount::Boxes(boxes) => AmountView::Boxes(boxes),
        };
        let class = |class: QueueClass| QueueClassView {
            class: class.class,
            guaranteed: class.guaranteed.map(amount),
            maximum: class.maximum.map(amount),
            in_use_milli: class.in_use_milli,
            borrowed_milli: class.borrowed_milli,
        };
        let queue = |queue: QueueStatus| QueueView {
            queue: queue.name,
            parent: queue.parent,
            weight: queue.weight,
            goes_by: queue.goes_by,
            waiting: queue.waiting,
            had_accelerator_s: queue.had_s,
            share_permille: queue.share_permille,
            weight_permille: queue.weight_permille,
            classes: queue.classes.into_iter().map(class).collect(),
        };
        Self { queues: engine.queues().into_iter().map(queue).collect() }
    }
}

/// One gang.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::GangStatus")]
pub struct GangView {
    pub gang: String,
    pub kind: &'static str,
    pub phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Arc<str>>,
    pub priority: i32,
    pub created_at_unix_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domains: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_asked: Option<String>,
    /// Of a gang that was asked for by name and waits: who holds most of what it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<String>,
    /// Of a gang that was asked for by name: the last time that it made room for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_room: Option<MadeRoomView>,
    pub members: Vec<MemberView>,
}

/// One member of a gang.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at engine::MemberStatus")]
pub struct MemberView {
    pub pod: String,
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

impl GangsView {
    /// The queue.
    pub fn queue(engine: &Engine) -> Self {
        Self { gangs: engine.queue().into_iter().map(GangView::from).collect() }
    }

    /// Gangs of one name.
    pub fn named(engine: &Engine, now: Time, namespace: &str, name: &str) -> Self {
        let view = |status: GangStatus| {
            let waits = status.members.iter().find(|member| member.state == "waiting").map(|member| member.pod.clone());
            let pod = waits.and_then(|key| engine.pod(&key.namespace, &key.name));
            let first = status.members.first().map(|member| member.pod.clone());
            let made_room = first.and_then(|key| MadeRoomView::of(engine, now, &key.namespace, &key.name));
            GangView { held_by: pod.map(|pod| engine.held_by(pod)).unwrap_or_default(), made_room, ..GangView::from(status) }
        };
        Self { gangs: engine.gangs_named(namespace, name).into_iter().map(view).collect() }
    }
}

impl From<GangStatus> for GangView {
    fn from(status: GangStatus) -> Self {
        let member = |member: MemberStatus| MemberView {
            pod: member.pod.to_string(),
            state: member.state,
            rank: member.rank,
            node: member.node.map(|node| node.as_str().into()),
        };
        Self {
            gang: status.id.to_string(),
            kind: status.id.kind.name(),
            phase: status.phase.name(),
            queue: status.queue,
            priority: status.priority,
            created_at_unix_ms: status.created_at.unix_ms(),
            size: status.size.map(|(size, _)| size),
            min: status.size.map(|(_, min)| min),
            domains: status.domains,
            refusal: status.refusal.as_ref().map(RefusalView::from),
            nodes_asked: status.nodes_asked,
            held_by: Vec::new(),
            made_room: None,
            members: status.members.into_iter().map(member).collect(),
        }
    }
}

/// Nodes with accelerators.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodesView {
    /// By name.
    pub nodes: Vec<NodeView>,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct NodeView {
    pub name: Arc<str>,
    pub ready: bool,
    pub unschedulable: bool,
    /// While it is given no pods that ask for devices, because it failed some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantineView>,
    pub pools: Vec<PoolView>,
    /// Devices that are cut into partitions, where an agent tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<CutView>,
}

/// That a node is in quarantine.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct QuarantineView {
    pub until_unix_ms: u64,
    pub why: String,
}

/// The devices behind one resource of a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct PoolView {
    pub resource: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Arc<str>>,
    pub allocatable: u32,
    pub free: u32,
    /// Devices held by somebody, nobody knows which.
    pub unnamed: u32,
    pub devices: Vec<DeviceUseView>,
}

/// A device that is cut into partitions.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct CutView {
    pub parent: Arc<str>,
    /// `1g.10gb at 6`
    pub instances: Vec<String>,
    /// `2 x 1g.10gb`: what could be added, each profile alone.
    pub room: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
}

impl From<Cut> for CutView {
    fn from(cut: Cut) -> Self {
        let instance = |(profile, start): (Arc<str>, Option<u8>)| match start {
            Some(start) => format!("{profile} at {start}"),
            None => profile.to_string(),
        };
        Self {
            parent: cut.parent.as_str().into(),
            instances: cut.instances.into_iter().map(instance).collect(),
            room: cut.room.into_iter().map(|(profile, count)| format!("{count} x {profile}")).collect(),
            impossible: cut.impossible.map(|why| why.to_string()),
        }
    }
}

/// One device and who holds it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct DeviceUseView {
    pub id: Arc<str>,
    pub healthy: bool,
    pub used_milli: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Arc<str>>,
}

impl NodesView {
    /// The view of every node that has accelerators.
    pub fn of(engine: &Engine) -> Self {
        let nodes = engine.book().nodes().filter(|entry| !entry.pools.is_empty()).map(|entry| NodeView {
            name: entry.node.name.as_str().into(),
            ready: entry.node.ready,
            unschedulable: entry.node.unschedulable,
            quarantine: engine
                .quarantine(&entry.node.name)
                .map(|it| QuarantineView { until_unix_ms: it.until.unix_ms(), why: it.why.clone() }),
            pools: entry.pools.iter().filter_map(|ledger| Some(pool_view(ledger, ledger.pool(&entry.node)?))).collect(),
            cuts: partitions::cuts(&entry.node.pools).into_iter().map(CutView::from).collect(),
        });
        let mut nodes: Vec<NodeView> = nodes.collect();
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Self { nodes }
    }
}

fn pool_view(ledger: &PoolLedger, facts: &Pool) -> PoolView {
    let device = |(device, using): (&Device, &DeviceUse)| DeviceUseView {
        id: device.id.as_str().into(),
        healthy: device.health == Health::Healthy,
        used_milli: if using.whole.is_some() { 1000 } else { using.share_milli },
        holders: using.whole.iter().chain(&using.sharers).map(|uid| uid.as_str().into()).collect(),
    };
    PoolView {
        resource: ledger.resource.as_str().into(),
        product: facts.product.clone(),
        allocatable: facts.allocatable,
        free: ledger.free,
        unnamed: ledger.unnamed,
        devices: facts.devices.iter().zip(&ledger.usage).map(device).collect(),
    }
}

/// How many nodes were refused for one reason.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "its fields say it")]
pub struct RefusedView {
    pub reason: &'static str,
    pub nodes: u32,
}

/// A device, or a share of one, that a container was given.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the annotation gangplank.dev/devices")]
pub struct DeviceView {
    pub container: Arc<str>,
    pub resource: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milli: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}

/// The full story of a refusal.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "explained at model::Refusal")]
pub struct RefusalView {
    pub reason: &'static str,
    pub text: String,
    pub needed: String,
    pub there: String,
    pub remedy: String,
}

impl From<&Refusal> for RefusalView {
    fn from(refusal: &Refusal) -> Self {
        Self {
            reason: refusal.reason.code(),
            text: refusal.reason.to_string(),
            needed: refusal.needed.clone(),
            there: refusal.there.clone(),
            remedy: refusal.remedy.clone(),
        }
    }
}

impl From<&Trace> for TraceView {
    fn from(trace: &Trace) -> Self {
        Self {
            at_unix_ms: trace.at.unix_ms(),
            verb: trace.verb,
            offered: trace.offered,
            passed: trace.passed,
            refused: trace.refused.iter().map(|(reason, nodes)| RefusedView { reason: reason.code(), nodes: *nodes }).collect(),
            chosen: trace.chosen.as_ref().map(|node| node.as_str().into()),
            devices: trace.grant.iter().flat_map(devices).collect(),
            lines: trace.lines.clone(),
            refusal: trace.refusal.as_ref().map(RefusalView::from),
        }
    }
}

fn devices(grant: &Grant) -> Vec<DeviceView> {
    let one = |container: &Arc<str>, share: &DeviceShare| {
        let (milli, memory_mib) = match share.amount {
            Amount::Whole => (None, None),
            Amount::Share { milli, memory_mib } => (Some(milli), memory_mib),
        };
        DeviceView {
            container: container.clone(),
            resource: share.resource.as_str().into(),
            id: share.device.as_ref().map(|id| id.as_str().into()),
            milli,
            memory_mib,
        }
    };
    grant.containers.iter().flat_map(|container| container.devices.iter().map(|share| one(&container.container, share))).collect()
}
