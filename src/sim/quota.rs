//! ResourceQuota as the API server counts it when a pod is created: whole numbers of devices, CPU, memory, pods.
//! What it cannot count, shares, is the engine's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The hard limits of one ResourceQuota, in thousandths, by the names that it uses (`requests.cpu`, `pods`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardLimits {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `spec.hard`.
    pub hard: BTreeMap<Arc<str>, u64>,
    /// What the pods created so far count for.
    pub used: BTreeMap<Arc<str>, u64>,
}

/// What one pod counts for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Thousandths, by quota name.
    pub amounts: BTreeMap<Arc<str>, u64>,
    /// Quota names for which some container states no amount: a quota on one of them refuses the pod.
    pub unset: BTreeSet<Arc<str>>,
}

impl HardLimits {
    /// A quota of which nothing is used.
    pub fn new(namespace: Arc<str>, name: Arc<str>, hard: BTreeMap<Arc<str>, u64>) -> Self {
        Self { namespace, name, hard, used: BTreeMap::new() }
    }

    /// Whether a pod may be created.
    ///
    /// # Errors
    /// The API server's text, without the pod's name.
    pub fn admits(&self, charge: &Charge) -> Result<(), String> {
        let unset: Vec<&str> = self.hard.keys().filter(|name| charge.unset.contains(*name)).map(AsRef::as_ref).collect();
        if !unset.is_empty() {
            return Err(format!("failed quota: {}: must specify {}", self.name, unset.join(", ")));
        }
        let of = |map: &BTreeMap<Arc<str>, u64>, name: &Arc<str>| map.get(name).copied().unwrap_or(0);
        let over: Vec<&Arc<str>> = (self.hard.iter())
            .filter(|(name, hard)| of(&charge.amounts, name) > 0 && of(&self.used, name).saturating_add(of(&charge.amounts, name)) > **hard)
            .map(|(name, _)| name)
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        let list = |map: &BTreeMap<Arc<str>, u64>| {
            over.iter().map(|name| format!("{name}={}", amount(of(map, name)))).collect::<Vec<_>>().join(",")
        };
        let (requested, used, limited) = (list(&charge.amounts), list(&self.used), list(&self.hard));
        Err(format!("exceeded quota: {}, requested: {requested}, used: {used}, limited: {limited}", self.name))
    }

    /// Counts a pod that was created.
    pub fn take(&mut self, charge: &Charge) {
        for name in self.hard.keys() {
            if let Some(amount) = charge.amounts.get(name) {
                let used = self.used.entry(Arc::clone(name)).or_default();
                *used = used.saturating_add(*amount);
            }
        }
    }
}

fn amount(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> HardLimits {
        HardLimits::new("ml".into(), "team".into(), [("requests.nvidia.com/gpu".into(), 4_000), ("requests.cpu".into(), 2_500)].into())
    }

    fn charge(gpus: u64, cpu_milli: u64) -> Charge {
        let amounts = [("requests.nvidia.com/gpu".into(), gpus * 1000), ("requests.cpu".into(), cpu_milli), ("pods".into(), 1000)];
        Charge { amounts: amounts.into(), unset: BTreeSet::new() }
    }

    #[test]
    fn up_to_the_limit_is_admitted_and_one_more_is_not() {
        let mut quota = quota();
        assert_eq!(quota.admits(&charge(4, 0)), Ok(()));
        quota.take(&charge(3, 500));
        assert_eq!(quota.admits(&charge(1, 2000)), Ok(()));
        assert_eq!(
            quota.admits(&charge(2, 2001)),
            Err("exceeded quota: team, requested: requests.cpu=2001m,requests.nvidia.com/gpu=2, used: requests.cpu=500m,requests.nvidia.com/gpu=3, limited: requests.cpu=2500m,requests.nvidia.com/gpu=4".into())
        );
    }

    #[test]
    fn a_pod_that_does_not_say_how_much_is_refused() {
        let silent = Charge { unset: ["requests.cpu".into(), "limits.cpu".into()].into(), ..Charge::default() };
        assert_eq!(quota().admits(&silent), Err("failed quota: team: must specify requests.cpu".into()));
    }

    #[test]
    fn what_a_pod_does_not_ask_for_is_not_refused_even_when_used_up() {
        let mut quota = quota();
        quota.take(&charge(9, 0));
        assert_eq!(quota.admits(&charge(0, 100)), Ok(()));
    }
}
