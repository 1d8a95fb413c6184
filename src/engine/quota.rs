//! ResourceQuota, shares counted. The API server counts whole GPUs when a pod is created; a share is no line of the
//! quota to it. So a `requests.<resource>` line of N is read as N x 1000, and what is granted may not pass it.

use super::Engine;
use crate::model::{Pod, Quota, Refusal, ResourceName};
use crate::model::{Reason, SHARE_MILLI};

impl Engine {
    /// The first quota of the pods' namespace that granting so many like each would pass. What the first one itself holds does
    /// not count, and the others hold nothing.
    pub(super) fn quota_exceeded_by(&self, pods: &[(&Pod, u32)]) -> Option<Refusal> {
        let (pod, _) = pods.first()?;
        let first = (pod.key.namespace.clone(), std::sync::Arc::from(""));
        let of_namespace = self.quotas.range(first..).map(|(_, quota)| quota).take_while(|quota| quota.namespace == pod.key.namespace);
        of_namespace.flat_map(|quota| quota.hard.iter().map(move |line| (quota, line))).find_map(|(quota, (resource, hard))| {
            let asked: u64 = pods.iter().map(|(pod, count)| self.asked_milli(pod, resource) * u64::from(*count)).sum();
            let held = self.held_milli(pod, resource);
            let hard_milli = u64::from(*hard) * 1000;
            (asked > 0 && held + asked > hard_milli).then(|| refusal(quota, resource, asked, held, hard_milli))
        })
    }

    fn asked_milli(&self, pod: &Pod, resource: &ResourceName) -> u64 {
        let shares = if self.is_shared(resource) { pod.request.share_milli() } else { 0 };
        u64::from(pod.request.whole_of(resource)) * 1000 + u64::from(shares)
    }

    fn held_milli(&self, pod: &Pod, resource: &ResourceName) -> u64 {
        let unknown = ResourceName::from(SHARE_MILLI);
        let counts = |name: &ResourceName| name == resource || (self.is_shared(resource) && *name == unknown);
        let own = self
            .book
            .holder(&pod.uid)
            .map_or(0, |holder| holder.takes.iter().filter(|take| counts(&take.resource)).map(|take| u64::from(take.milli())).sum());
        let namespace = &pod.key.namespace;
        let shares = if self.is_shared(resource) { self.book.held_milli(namespace, &unknown) } else { 0 };
        (self.book.held_milli(namespace, resource) + shares).saturating_sub(own)
    }

    fn is_shared(&self, resource: &ResourceName) -> bool {
        self.profiles.classes().of(resource.as_str()).is_some_and(|class| class.sharable)
    }
}

fn refusal(quota: &Quota, resource: &ResourceName, asked: u64, held: u64, hard: u64) -> Refusal {
    let thousandths = |milli: u64| format!("{}.{:03}", milli / 1000, milli % 1000);
    Refusal {
        reason: Reason::QuotaExceeded(quota.name.clone()),
        needed: format!("{} of {resource}", thousandths(asked)),
        there: format!("{} of {} are granted in namespace {}", thousandths(held), thousandths(hard), quota.namespace),
        remedy: format!("wait for pods of the namespace to end, or raise requests.{resource} of ResourceQuota {}", quota.name),
    }
}
