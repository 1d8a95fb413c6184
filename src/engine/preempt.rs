//! preempt: a veto. kube-scheduler proposes victims by integers, pod by pod; a proposal stands only if its devices would then
//! really do, and if the planner could have taken these victims: by the same rules, never a part of a gang, never one
//! more than a disruption budget allows. That holds for preemptors that ask for no device, too.

use super::decider::shape;
use super::{Answer, Engine, Output, PreemptCandidate, PreemptChoice, PreemptQuery};
use crate::model::{Pod, PodUid};
use crate::preempt::rules::{Standing, reach};
use crate::queue::Right;

impl Engine {
    pub(super) fn preempt(&mut self, query: PreemptQuery<'_>) -> Output {
        let PreemptQuery { pod, candidates } = query;
        let mut choices = Vec::new();
        if !pod.never_preempts {
            for (candidate, place) in candidates.iter().zip(0_u32..) {
                if self.stands(pod, candidate) {
                    let victims = self.by_descending_priority(&candidate.victims);
                    choices.push(PreemptChoice { candidate: place, victims, pdb_violations: candidate.pdb_violations });
                }
            }
        }
        Output { answer: Answer::Preempt(choices), ..Output::default() }
    }

    fn stands(&mut self, pod: &Pod, candidate: &PreemptCandidate<'_>) -> bool {
        if candidate.victims.is_empty() || !self.may_take(pod, &candidate.victims) {
            return false;
        }
        if pod.request.is_empty() {
            return true;
        }
        let Some(shape) = shape(pod) else { return false };
        if self.entitled(&[(pod, 1)]).is_err() {
            return false; // Victims in other namespaces cannot cure it; those in its own are not worth a guess.
        }
        let mark = self.book.checkpoint();
        self.book.release(&pod.uid);
        for uid in &candidate.victims {
            self.book.release(uid);
        }
        let fits = self.book.node(candidate.node).is_some_and(|entry| entry.fits(&shape).is_ok());
        self.book.rollback(mark);
        fits
    }

    /// Whether the planner could have taken these for the pod. Of pods that ask for nothing managed nothing is known: kube-scheduler's
    /// word stands for them.
    fn may_take(&self, pod: &Pod, victims: &[PodUid]) -> bool {
        let preemptor = Standing { priority: pod.priority, never_preempts: pod.never_preempts, ..Standing::default() };
        let known: Vec<&Pod> = victims.iter().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod).collect();
        let (rights, spared) = self.rights_over(pod, &known);
        let allowed = |(victim, right): (&&Pod, &Right)| {
            let standing = Standing { priority: victim.priority, right: *right, ..Standing::default() };
            reach(preemptor, standing).is_some() && !self.stays(victim)
        };
        let kept = self.budgets.values().all(|budget| {
            let under = known.iter().filter(|victim| victim.key.namespace == budget.namespace && budget.covers(&victim.labels)).count();
            under <= usize::try_from(budget.disruptions_allowed).unwrap_or(0)
        });
        kept && spared && known.iter().zip(&rights).all(allowed) && self.leaves_gangs_whole(victims)
    }

    /// kube-scheduler reads the first victim's priority as the highest (preemption.go, pickOneNode).
    fn by_descending_priority(&self, victims: &[PodUid]) -> Vec<PodUid> {
        let mut victims = victims.to_vec();
        // A pod that asks for nothing managed is not recorded; among such kube-scheduler's own order stands.
        if victims.iter().all(|uid| self.pods.contains_key(uid)) {
            victims.sort_by_key(|uid| std::cmp::Reverse(self.pods.get(uid).map(|record| record.pod.priority)));
        }
        victims
    }
}
