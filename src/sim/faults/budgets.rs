//! PodDisruptionBudgets: the disruption controller, which counts now and then, and what the Eviction API does by its count.

use std::sync::Arc;

use super::museum::Flaw;
use super::rivalry::BUDGET_LABEL;
use super::run::Run;
use super::timeline::Event;
use crate::model::{Budget, Operator, Pod, PodPhase, PodUid, Requirement};

impl Run {
    pub(super) fn begin_budgets(&mut self) {
        if self.scenario.rivalry.as_ref().is_some_and(|rivalry| !rivalry.budgets.is_empty()) {
            self.count_budgets();
        }
    }

    /// How many pods of each may go: healthy ones beyond those that must be there.
    pub(super) fn count_budgets(&mut self) {
        let plans = self.scenario.rivalry.iter().flat_map(|rivalry| rivalry.budgets.clone()).collect::<Vec<_>>();
        for plan in plans {
            let selector =
                Requirement { key: Arc::from(BUDGET_LABEL), field: false, operator: Operator::In, values: vec![Arc::from(plan.name)] };
            let (namespace, name) = (Arc::from(plan.namespace), Arc::from(plan.name));
            let mut budget = Budget { namespace, name, selector: Some(vec![selector]), disruptions_allowed: 0 };
            let healthy = self.store.pods().filter(|pod| covers(&budget, pod) && self.is_healthy(pod)).count();
            budget.disruptions_allowed = i32::try_from(healthy).unwrap_or(0).saturating_sub_unsigned(plan.min_available).max(0);
            self.store.apply_budget(budget);
        }
        let after = self.dice.between(200, 1500);
        self.enter(after, Event::Budgets);
    }

    /// The Eviction API: refuses what a budget does not allow, and counts what it lets go.
    pub(super) fn may_be_evicted(&mut self, uid: &PodUid) -> bool {
        if self.flaw == Some(Flaw::BudgetUnread) {
            return true;
        }
        let Some(pod) = self.store.pod(uid).filter(|pod| self.is_healthy(pod)) else { return true };
        let Some(budget) = self.store.budgets().find(|budget| covers(budget, pod)).cloned() else { return true };
        let allowed = budget.disruptions_allowed > 0;
        if allowed {
            self.store.apply_budget(Budget { disruptions_allowed: budget.disruptions_allowed - 1, ..budget });
        } else {
            self.say(|| format!("429: budget {} does not let {uid} go", budget.name));
        }
        allowed
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        let answers = pod.node.as_ref().is_some_and(|node| self.store.node(node).is_some() && !self.silent.contains(node));
        pod.phase == PodPhase::Running && !pod.deleting && answers
    }
}

/// Whether a budget stands over a pod.
pub(super) fn covers(budget: &Budget, pod: &Pod) -> bool {
    pod.key.namespace == budget.namespace && budget.covers(&pod.labels)
}
