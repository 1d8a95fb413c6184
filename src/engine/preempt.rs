//! preempt: a veto. kube-scheduler proposes victims by integers; a proposal stands only if its devices would then
//! really do, and if no victim is above its reach.

use super::decider::shape;
use super::{Answer, Engine, Output, PreemptCandidate, PreemptChoice, PreemptQuery};
use crate::model::{Pod, PodUid};

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
        let below = |uid: &PodUid| self.pods.get(uid).is_none_or(|victim| victim.pod.priority < pod.priority);
        if candidate.victims.is_empty() || !candidate.victims.iter().all(below) {
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
