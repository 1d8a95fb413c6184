//! What pods may have whatever is free: by the priority class that their queue allows, by the queue's maximum, and by the
//! namespace's ResourceQuota.

use super::Engine;
use crate::model::{Pod, Reason, Refusal};
use crate::queue::{Asks, Exceeded};

impl Engine {
    /// Whether so many pods like each may have what they ask for. All are of one namespace, and none holds anything but perhaps
    /// the first, if it is the only one.
    ///
    /// # Errors
    /// The first rule that is against it.
    pub(super) fn entitled(&mut self, pods: &[(&Pod, u32)]) -> Result<(), Refusal> {
        let Some((lead, _)) = pods.first() else { return Ok(()) };
        let queue = self.queues.rules().of(&lead.key.namespace);
        if let Some(rule) = self.queues.rule(queue) {
            if let Some(listed) = &rule.priority_classes {
                let allowed = |pod: &Pod| pod.priority_class.as_ref().is_some_and(|class| listed.contains(class));
                if let Some((pod, _)) = pods.iter().find(|(pod, _)| !allowed(pod)) {
                    let is = pod.priority_class.as_ref().map_or_else(|| "it has none".into(), |class| format!("it has {class}"));
                    return Err(Refusal {
                        reason: Reason::PriorityClassNotAllowed(rule.name.clone()),
                        needed: format!("one of the priority classes {}", listed.join(", ")),
                        there: is,
                        remedy: "create the pod anew with one of these, or add its class to the queue in the profile".into(),
                    });
                }
            }
            let holds = self.book.holder(&lead.uid).is_some();
            let asks = if holds { Asks::default() } else { self.queues.asks(pods.iter().copied(), self.profiles.classes()) };
            self.queues.count(&self.book, self.profiles.classes());
            if let Err(exceeded) = self.queues.admits(queue, &asks, self.lane.id_of(&lead.uid)) {
                return Err(self.beyond_maximum(&exceeded));
            }
        }
        self.quota_exceeded_by(pods).map_or(Ok(()), Err)
    }

    fn beyond_maximum(&self, exceeded: &Exceeded) -> Refusal {
        let Exceeded { queue, class, amounts: (held, asked, most), in_boxes } = exceeded;
        let name = self.queues.rule(*queue).map(|rule| rule.name.clone()).unwrap_or_default();
        let amount = |amount: u64| match in_boxes {
            true => format!("{amount} boxes"),
            false if amount.is_multiple_of(1000) => (amount / 1000).to_string(),
            false => format!("{}.{:03}", amount / 1000, amount % 1000),
        };
        Refusal {
            reason: Reason::QueueMaximum(name.clone()),
            needed: format!("{} of {class}", amount(*asked)),
            there: format!("{} of {} are held in queue {name}", amount(*held), amount(*most)),
            remedy: format!("wait for jobs of the queue to end, or raise its maximum of {class} in the profile"),
        }
    }
}
