//! bind: the only commitment. What a filter call held becomes an order to write; what nobody held is decided now.

use std::time::Duration;

use super::decider::{reference, shape};
use super::filter::left_milli;
use super::{Answer, BindAnswer, BindOrder, BindOutcome, BindQuery, Engine, EnvValue, Output, Trace};
use crate::book::{Holder, HolderState};
use crate::model::{Amount, Grant, NodeName, Pod, PodUid, Reason, Refusal, Time};
use std::sync::Arc;

/// How long an unanswered Binding is believed in before its devices are free again. The watch decides within
/// seconds; this is for an API server that is gone that long.
const BINDING_UNKNOWN: Duration = Duration::from_secs(300);

impl Engine {
    pub(super) fn bind(&mut self, now: Time, query: BindQuery) -> Output {
        let BindQuery { pod, node } = query;
        if let Some(bound) = &pod.node {
            let answer = if *bound == node { BindAnswer::AlreadyBound } else { BindAnswer::Refused(bound_elsewhere(&node, bound)) };
            return Output { answer: Answer::Bind(answer), ..Output::default() };
        }
        if pod.request.is_empty() {
            return write(&pod, Grant { node, containers: Vec::new() });
        }
        if (pod.gang.is_some() || pod.planned.is_some()) && !self.lane.has(&pod.uid) {
            self.record(now, &pod).pod = pod.clone();
            self.lane_pod(now, &pod);
        }
        let committed = self.against_plan(&pod, &node).map_or_else(|| self.commit(now, &pod, &node), Err);
        self.lane_again(now, &pod.uid);
        match committed {
            Ok(grant) => {
                let record = self.record(now, &pod);
                record.refused = None;
                // The filter call told why this node, and bind only keeps its word: that story stays.
                let told = record.trace.as_ref().is_some_and(|trace| trace.grant.as_ref() == Some(&grant));
                if !told {
                    let chosen = Some(node);
                    let grant = Some(grant.clone());
                    record.trace =
                        Some(Arc::new(Trace { at: now, verb: "bind", offered: 1, passed: 1, chosen, grant, ..Trace::default() }));
                }
                let trace = record.trace.clone();
                Output { trace, ..write(&pod, grant) }
            }
            Err(refusal) => {
                *self.counts.refused.entry(refusal.reason.code()).or_default() += 1;
                let trace = Trace { at: now, verb: "bind", offered: 1, refusal: Some(refusal.clone()), ..Trace::default() };
                let record = self.record(now, &pod);
                (record.refused, record.trace) = (Some((now, refusal.reason.clone())), Some(Arc::new(trace)));
                let trace = record.trace.clone();
                Output { answer: Answer::Bind(BindAnswer::Refused(refusal)), effects: Vec::new(), trace }
            }
        }
    }

    pub(super) fn bind_outcome(&mut self, now: Time, uid: &PodUid, node: &NodeName, outcome: BindOutcome) {
        let Some(holder) = self.book.holder(uid).filter(|holder| holder.node == *node && holder.state != HolderState::Bound).cloned()
        else {
            return; // The watch was faster, or the pod is gone.
        };
        match outcome {
            // What was refused is the last write; the one before it may be on its way still.
            BindOutcome::Refused if matches!(holder.state, HolderState::Binding { undecided: true, .. }) => {}
            BindOutcome::Bound if holder.takes.is_empty() => {
                self.book.release(uid);
                self.book.set_plain(uid, node, holder.load);
            }
            BindOutcome::Bound => {
                self.book.set_holder(Holder { state: HolderState::Bound, changed_at: now, ..holder });
                self.binding_written(uid);
            }
            BindOutcome::Refused if self.promise_again(now, uid, holder.grant.as_ref()) => {}
            BindOutcome::Refused => {
                self.book.release(uid);
                self.gained(now);
            }
            BindOutcome::Unknown => {
                let state = HolderState::Binding { until: now + BINDING_UNKNOWN, undecided: true };
                self.book.set_holder(Holder { state, changed_at: now, ..holder });
            }
        }
    }

    /// Turns what is held there into a commitment, or decides afresh on that node.
    fn commit(&mut self, now: Time, pod: &Pod, node: &NodeName) -> Result<Grant, Refusal> {
        let until = now + BINDING_UNKNOWN;
        let undecided = self.book.holder(&pod.uid).is_some_and(|holder| matches!(holder.state, HolderState::Binding { .. }));
        if let Some(grant) = self.held_there(pod, node) {
            if !undecided {
                self.entitled_still(pod)?;
            }
            self.hold(now, pod, node.clone(), Some(grant.clone()), HolderState::Binding { until, undecided });
            return Ok(grant);
        }
        let names = [node.as_str()];
        if undecided {
            // Written before, here or elsewhere, with devices that cannot be written again: until that is decided,
            // other devices would be a second grant, and those given back could be somebody's when it lands.
            return Err(self.story(pod, &names, &[(Reason::BindingUndecided, 1)]));
        }
        self.book.release(&pod.uid);
        let Some(shape) = shape(pod) else { return Err(self.story(pod, &names, &[(Reason::InvalidRequest, 1)])) };
        self.entitled(&[(pod, 1)])?;
        let worth = self.worth(pod, node.as_str());
        let left_milli = left_milli(worth, self.gradient(pod, node.as_str(), &worth));
        let Some(entry) = self.book.node(node.as_str()) else { return Err(self.story(pod, &names, &[(Reason::UnknownNode, 1)])) };
        let grant = entry.grant_from(&shape, left_milli).map_err(|(reason, _)| self.story(pod, &names, &[(reason, 1)]))?;
        self.hold(now, pod, node.clone(), Some(grant.clone()), HolderState::Binding { until, undecided: false });
        Ok(grant)
    }

    /// Whether its queue can still have what is held for it: a Binding of a process before this one may have landed since. What is
    /// held stays held until its deadline.
    fn entitled_still(&mut self, pod: &Pod) -> Result<(), Refusal> {
        if self.queues.rules().is_empty() {
            return Ok(());
        }
        let mark = self.book.checkpoint();
        self.book.release(&pod.uid);
        let entitled = self.entitled(&[(pod, 1)]);
        self.book.rollback(mark);
        entitled
    }

    /// The grant that is held for a pod on a node, if nobody took any of it meanwhile and it is what the pod asks for
    /// now (a bind is asked again after an outcome that nobody knows; then the same devices are written again).
    fn held_there(&self, pod: &Pod, node: &NodeName) -> Option<Grant> {
        let holder = self.book.holder(&pod.uid).filter(|holder| holder.node == *node)?;
        let entry = self.book.node(node.as_str())?;
        let (takes, honoured) = crate::book::takes(&pod.request, holder.grant.as_ref());
        (honoured && takes == holder.takes && entry.upholds(holder)).then(|| holder.grant.clone()).flatten()
    }
}

fn write(pod: &Pod, grant: Grant) -> Output {
    let env = env_values(pod, &grant);
    Output { answer: Answer::Bind(BindAnswer::Write(BindOrder { pod: reference(pod), grant, env })), ..Output::default() }
}

/// What a container with a share must see for the share to be real: its device, and the limits of NVIDIA MPS
/// (`CUDA_MPS_ACTIVE_THREAD_PERCENTAGE`, `CUDA_MPS_PINNED_DEVICE_MEM_LIMIT`, device 0 being the only one visible).
fn env_values(pod: &Pod, grant: &Grant) -> Vec<EnvValue> {
    let mut env = Vec::new();
    for (asked, given) in pod.request.containers.iter().zip(&grant.containers) {
        for share in &given.devices {
            let (Amount::Share { milli, memory_mib }, Some(device)) = (share.amount, &share.device) else { continue };
            let mut set = |name, value| env.push(EnvValue { role: asked.role, index: asked.index, name, value });
            set("NVIDIA_VISIBLE_DEVICES", device.to_string());
            set("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", milli.div_ceil(10).to_string());
            if let Some(memory_mib) = memory_mib {
                set("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", format!("0={memory_mib}M"));
            }
        }
    }
    env
}

fn bound_elsewhere(asked: &NodeName, bound: &NodeName) -> Refusal {
    Refusal {
        reason: Reason::InvalidRequest,
        needed: format!("a binding to {asked}"),
        there: format!("the pod is bound to {bound} already"),
        remedy: "none needed: kube-scheduler will see it".into(),
    }
}
