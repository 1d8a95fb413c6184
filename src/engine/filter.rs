//! filter and prioritize, in the lane without admission: judge the offered nodes, and hold the best one.

use super::decider::{reference, shape};
use super::domains::Domains;
use super::verdicts::Asking;
use super::{Answer, Effect, Engine, FilterAnswer, FilterQuery, Output, Refused, Score, Trace};
use crate::book::{Book, HolderState, NodeEntry, Shape};
use crate::model::{Curable, Grant, NodeName, Pod, PodUid, Reason, Refusal, Time};
use crate::policy::{Decide, Gradient, Outlook, PlainPods, Scorer, Worth};
use crate::topology::fabric::Fabric;
use std::sync::Arc;
use std::time::Duration;

/// People are told again of an unchanged refusal after this long.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// How the offered nodes were judged.
pub(super) struct Judged {
    /// Place and score of the best one.
    pub(super) best: Option<(u32, u32)>,
    pub(super) fitting: u32,
    /// Places of the passing ones, if they are wanted.
    passed: Vec<u32>,
    /// One entry a refused name; one a name when none passed.
    refused: Vec<(Reason, Curable)>,
}

impl Judged {
    /// Why nodes were refused.
    pub(super) fn refused(&self) -> &[(Reason, Curable)] {
        &self.refused
    }
}

impl Engine {
    pub(super) fn filter(&mut self, now: Time, query: FilterQuery<'_>) -> Output {
        let FilterQuery { pod, names } = query;
        if pod.request.is_empty() {
            return self.filter_plain(now, query);
        }
        self.arrived(pod);
        self.lane.asked_at = now;
        if let Some(record) = self.pods.get_mut(&pod.uid) {
            record.asked_at = now;
        }
        if let Some(node) = self.committed_to(&pod.uid) {
            // kube-scheduler's view is older than ours. Without an answer a Binding may land yet: its devices stay held.
            if let Some((_, place)) = names.iter().zip(0..).find(|(name, _)| **name == node.as_str()) {
                return answer(FilterAnswer { nodes: vec![place], refused: Refused::None });
            }
            let refusal = self.story(pod, names, &[(Reason::BindingUndecided, len(names))]);
            return self.refuse_pod(now, pod, names, refusal);
        }
        if (pod.gang.is_some() || self.lane.has(&pod.uid))
            && let Some(output) = self.filter_member(now, query)
        {
            return output;
        }
        // A new attempt: whatever an earlier one held is free again, for this pod first.
        if self.book.release(&pod.uid).is_some() {
            self.gained(now);
        }
        let Some(shape) = shape(pod) else { return self.refuse_pod(now, pod, names, impossible(pod)) };
        if let Err(refusal) = self.entitled(&[(pod, 1)]) {
            return self.refuse_pod(now, pod, names, refusal);
        }
        let one = self.decides_by_filter(pod);
        let Judged { best, fitting, passed: nodes, refused } = self.judge(pod, &shape, names, one);
        let chosen = best.and_then(|(place, _)| self.chosen(pod, &shape, names[place as usize]).map(|chosen| (place, chosen)));
        let Some((place, (grant, lines))) = chosen else { return self.refuse_nodes(now, pod, names, refused) };
        let node = grant.node.clone();
        let trace = Trace {
            at: now,
            verb: "filter",
            offered: len(names),
            passed: fitting,
            refused: tally(&refused),
            chosen: Some(node.clone()),
            grant: Some(grant.clone()).filter(|_| one),
            lines,
            refusal: None,
        };
        if one {
            self.hold(now, pod, node, Some(grant), HolderState::Held { until: now + self.rules(pod).profile.hold });
        }
        let record = self.record(now, pod);
        record.refused = None;
        let trace = Arc::new(trace);
        record.trace = Some(trace.clone());
        let nodes = if one { vec![place] } else { nodes };
        Output { trace: Some(trace), ..answer(FilterAnswer { nodes, refused: Refused::None }) }
    }

    pub(super) fn prioritize(&mut self, query: FilterQuery<'_>) -> Output {
        let rules = self.rules(query.pod);
        let score_max = rules.profile.score_max;
        let plain = query.pod.request.is_empty() && rules.profile.plain_pods == PlainPods::Place;
        let shape = if plain { Some(Shape::plain(&query.pod.request)) } else { shape(query.pod) };
        let domains = known_domains(&rules.scorer, &mut self.domains, &self.book, &self.fabric);
        let asking = |shape| Asking { profile: &rules.profile, pod: query.pod, shape, domains };
        let told = self.valuation.ask_for(&rules.scorer, &self.book, query.pod, self.profiles.classes());
        let mut judge = shape.as_ref().map(|shape| self.verdicts.of(&self.book, &rules.scorer, asking(shape), told));
        let score = |name: &&str| -> Score {
            let verdict = judge.as_mut().and_then(|judge| judge.verdict(name));
            verdict.and_then(Result::ok).map_or(0, |nano| i64::from(nano) * score_max / 1_000_000_000)
        };
        Output { answer: Answer::Prioritize(query.names.iter().map(score).collect()), ..Output::default() }
    }

    /// What the pod would get on a node that passed, and what each policy says of it.
    pub(super) fn chosen(&mut self, pod: &Pod, shape: &Shape<'_>, name: &str) -> Option<(Grant, Vec<String>)> {
        let worth = self.worth(pod, name);
        let gradient = self.gradient(pod, name, &worth);
        let entry = self.book.node(name)?;
        let rules = self.rules(pod);
        let domains = known_domains(&rules.scorer, &mut self.domains, &self.book, &self.fabric);
        let domains_used_milli = domains.zip(self.book.slot(name)).and_then(|(domains, slot)| domains.used_milli(slot));
        let asking = Asking { profile: &rules.profile, pod, shape, domains };
        let opinions = asking.view(entry, Outlook { worth, gradient, domains_used_milli }, |view| rules.scorer.lines(view));
        let lines = self.profiles.line(pod).into_iter().chain(opinions).collect();
        Some((entry.grant_from(shape, left_milli(worth, gradient)).ok()?, lines))
    }

    /// Where a pod is bound or being bound.
    fn committed_to(&self, uid: &PodUid) -> Option<NodeName> {
        let holder = self.book.holder(uid)?;
        match holder.state {
            HolderState::Held { .. } | HolderState::Planned => None,
            HolderState::Binding { .. } | HolderState::Bound => Some(holder.node.clone()),
        }
    }

    pub(super) fn decides_by_filter(&self, pod: &Pod) -> bool {
        match self.rules(pod).profile.decide {
            Decide::Filter => true,
            Decide::Score => false,
            Decide::Auto => !pod.has_preferences,
        }
    }

    /// Judges every offered node; of equal ones the first name wins. The passing ones are listed unless only the
    /// best is wanted.
    pub(super) fn judge(&mut self, pod: &Pod, shape: &Shape<'_>, names: &[&str], one: bool) -> Judged {
        let mut judged = Judged { best: None, fitting: 0, passed: Vec::new(), refused: Vec::new() };
        let rules = self.rules(pod);
        let told = self.valuation.ask_for(&rules.scorer, &self.book, pod, self.profiles.classes());
        let domains = known_domains(&rules.scorer, &mut self.domains, &self.book, &self.fabric);
        let asking = Asking { profile: &rules.profile, pod, shape, domains };
        let mut judge = self.verdicts.of(&self.book, &rules.scorer, asking, told);
        for (name, place) in names.iter().zip(0_u32..) {
            match judge.verdict(name) {
                None => judged.refused.push((Reason::UnknownNode, Curable::NotByScheduler)),
                Some(Err(refusal)) => judged.refused.push(refusal),
                Some(Ok(score_nano)) => {
                    let better = |(best, best_score): (u32, u32)| {
                        score_nano > best_score || (score_nano == best_score && *name < names[best as usize])
                    };
                    if judged.best.is_none_or(better) {
                        judged.best = Some((place, score_nano));
                    }
                    judged.fitting += 1;
                    if !one {
                        judged.passed.push(place);
                    }
                }
            }
        }
        judged
    }

    /// The best node of all that are open to the pod, and how many have room; of equal ones the first name wins. Nodes that
    /// are no better than the best so far are not asked whether they are open: that costs more than the verdict.
    pub(super) fn best_of_all(&mut self, pod: &Pod, shape: &Shape<'_>, is_open: impl Fn(&NodeEntry) -> bool) -> (Option<NodeName>, u32) {
        let rules = self.rules(pod);
        let told = self.valuation.ask_for(&rules.scorer, &self.book, pod, self.profiles.classes());
        let domains = known_domains(&rules.scorer, &mut self.domains, &self.book, &self.fabric);
        let asking = Asking { profile: &rules.profile, pod, shape, domains };
        let mut judge = self.verdicts.of(&self.book, &rules.scorer, asking, told);
        let (mut best, mut fitting): (Option<(&NodeName, u32)>, u32) = (None, 0);
        for slot in 0..self.book.slots() {
            let (Some(Ok(score_nano)), Some(entry)) = (judge.verdict_at(slot), self.book.entry(slot)) else { continue };
            fitting += 1;
            let name = &entry.node.name;
            let better = |(known, score): (&NodeName, u32)| score_nano > score || (score_nano == score && name < known);
            if best.is_none_or(better) && is_open(entry) {
                best = Some((name, score_nano));
            }
        }
        (best.map(|(name, _)| name.clone()), fitting)
    }

    /// Refuses every node for a reason that lies in the pod or its namespace.
    pub(super) fn refuse_pod(&mut self, now: Time, pod: &Pod, names: &[&str], refusal: Refusal) -> Output {
        let reason = refusal.reason.clone();
        let trace = Trace {
            at: now,
            verb: "filter",
            offered: len(names),
            refused: vec![(reason.clone(), len(names))],
            refusal: Some(refusal),
            ..Trace::default()
        };
        let refused = Refused::All(reason, Curable::NotByScheduler);
        self.refuse(now, pod, trace, FilterAnswer { nodes: Vec::new(), refused })
    }

    /// Refuses every node for its own reason.
    fn refuse_nodes(&mut self, now: Time, pod: &Pod, names: &[&str], refused: Vec<(Reason, Curable)>) -> Output {
        let counts = tally(&refused);
        let refusal = self.story(pod, names, &counts);
        let trace = Trace { at: now, verb: "filter", offered: len(names), refused: counts, refusal: Some(refusal), ..Trace::default() };
        self.refuse(now, pod, trace, FilterAnswer { nodes: Vec::new(), refused: Refused::Each(refused) })
    }

    fn refuse(&mut self, now: Time, pod: &Pod, trace: Trace, refused: FilterAnswer) -> Output {
        let trace = Arc::new(trace);
        let mut effects = Vec::new();
        if let Some(refusal) = &trace.refusal {
            *self.counts.refused.entry(refusal.reason.code()).or_default() += 1;
            let record = self.record(now, pod);
            record.refused = Some((now, refusal.reason.clone()));
            record.trace = Some(trace.clone());
            let note = format!("{}: needs {}; {}; {}", refusal.reason, refusal.needed, refusal.there, refusal.remedy);
            // The dominant reason decides whether it is news; its numbers change with every pod that comes and goes.
            let news = record.told.as_ref().is_none_or(|(at, code)| code != refusal.reason.code() || now - *at > TOLD_AGAIN);
            if news && !refusal.reason.is_passing() {
                record.told = Some((now, refusal.reason.code().into()));
                effects.push(Effect::Event(super::Event { pod: reference(pod), reason: "AcceleratorsUnavailable", note, warning: true }));
            }
        }
        Output { answer: Answer::Filter(refused), effects, trace: Some(trace) }
    }
}

/// What is left of the device that a share goes to, as far as anybody minds.
pub(super) fn left_milli(worth: Worth, gradient: Gradient) -> Option<u32> {
    worth.quote().map(|quote| quote.residual_milli).or_else(|| gradient.residual_milli()).map(u32::from)
}

/// How much of domains is in use by now, if a policy wants to know.
fn known_domains<'a>(scorer: &Scorer, domains: &'a mut Domains, book: &Book, fabric: &Fabric) -> Option<&'a Domains> {
    scorer.asks_for_domains().then(|| {
        domains.sync(book, fabric);
        &*domains
    })
}

pub(super) fn answer(filter: FilterAnswer) -> Output {
    Output { answer: Answer::Filter(filter), ..Output::default() }
}

pub(super) fn impossible(pod: &Pod) -> Refusal {
    let why =
        pod.request.impossible.clone().unwrap_or_else(|| Arc::from("whole devices and shares in one pod, or a share above one device"));
    Refusal {
        reason: Reason::InvalidRequest,
        needed: super::story::summary(&pod.request),
        there: format!("no node can grant this: {why}"),
        remedy: "ask for whole devices, or for shares of 1 to 1000 gangplank.dev/gpu-milli each".into(),
    }
}

/// How often each reason was given, most frequent first.
pub(super) fn tally(refused: &[(Reason, Curable)]) -> Vec<(Reason, u32)> {
    let mut counts: Vec<(Reason, u32)> = Vec::new();
    for (reason, _) in refused {
        match counts.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((reason.clone(), 1)),
        }
    }
    counts.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
    counts
}

pub(super) fn len<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
