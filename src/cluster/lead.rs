//! One of several leads: it holds a lease of its own and renews it. As with the lease of kube-scheduler, whether another holder is still
//! there is judged by how long ago *we* saw a change. Who leads stops writing well before anybody else may begin: a process that stood still
//! knows by its own clock that its time is over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use super::lease::Watched;
use super::{NamespacedName, jittered};
use crate::host::Clock;

/// How long others wait for a holder that they do not see renewing.
const LASTS_SECONDS: i32 = 15;
/// How long we write after a renewal was asked for: a write begun in the last moment has the rest of the lease to end.
const WRITES: Duration = Duration::from_secs(9);
const RENEW: Duration = Duration::from_secs(2);
const CALL_MAX: Duration = Duration::from_secs(4);

/// API verbs that it needs, in the lease's namespace.
pub const LEAD_VERBS: &[(&str, &str, &str)] =
    &[("coordination.k8s.io", "leases", "create"), ("coordination.k8s.io", "leases", "get"), ("coordination.k8s.io", "leases", "update")];

/// Whether we lead.
#[derive(Debug, Default)]
pub struct Lead {
    until: Mutex<Option<Until>>,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    /// Nobody else is there.
    Always,
    /// For so long.
    Then(Instant),
}

impl Lead {
    /// Of one that has no others beside it.
    pub fn always() -> Self {
        Self { until: Mutex::new(Some(Until::Always)) }
    }

    /// Whether we may write now.
    pub fn may_write(&self) -> bool {
        match *self.until.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Until::Always) => true,
            Some(Until::Then(then)) => Instant::now() < then,
            None => false,
        }
    }

    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until.map(Until::Then);
    }

    /// Stands for the lead for as long as it runs. `began` is told whenever we have become leader.
    pub async fn stand(&self, client: Client, lease: NamespacedName, identity: String, mut began: impl FnMut() + Send) {
        let api: Api<Lease> = Api::namespaced(client, &lease.namespace);
        let mut seen = Watched::default();
        let mut leads = false;
        loop {
            let asked = Instant::now();
            match tokio::time::timeout(CALL_MAX, step(&api, &lease.name, &identity, &mut seen)).await {
                Ok(Ok(true)) => {
                    self.set(Some(asked + WRITES));
                    if !leads {
                        tracing::info!(lease = %lease.name, identity, "leads");
                        began();
                    }
                    leads = true;
                }
                Ok(Ok(false)) => {
                    if leads {
                        tracing::warn!(lease = %lease.name, "another one leads");
                    }
                    self.set(None);
                    leads = false;
                }
                // What was renewed last holds until it runs out by itself.
                Ok(Err(error)) => tracing::warn!(%error, lease = %lease.name, "the lease cannot be renewed"),
                Err(_) => tracing::warn!(lease = %lease.name, "the lease was not renewed in time"),
            }
            leads = leads && self.may_write();
            tokio::time::sleep(jittered(RENEW)).await;
        }
    }

    /// Lets go of the lead, so that another one need not wait.
    pub async fn release(&self, client: Client, lease: &NamespacedName, identity: &str) {
        self.set(None);
        let api: Api<Lease> = Api::namespaced(client, &lease.namespace);
        let released = async {
            let Some(mut found) = api.get_opt(&lease.name).await? else { return Ok(()) };
            if holder(&found) == identity {
                let spec = found.spec.get_or_insert_default();
                (spec.holder_identity, spec.lease_duration_seconds) = (None, Some(1));
                api.replace(&lease.name, &PostParams::default(), &found).await?;
            }
            Ok::<(), kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(CALL_MAX, released).await {
            tracing::warn!(%error, "the lease was not released");
        }
    }
}

/// Looks, and takes or renews where that may be. Whether we lead.
async fn step(api: &Api<Lease>, name: &str, identity: &str, seen: &mut Watched) -> Result<bool, kube::Error> {
    let found = api.get_opt(name).await?;
    seen.saw(found.as_ref().and_then(|lease| lease.spec.clone()), Instant::now());
    let written = match found {
        None => {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(held(None, identity)) }).await
        }
        Some(lease) => {
            let free = holder(&lease).is_empty() || seen.until().is_none_or(|until| until <= Instant::now());
            if holder(&lease) != identity && !free {
                return Ok(false);
            }
            let spec = held(lease.spec.as_ref(), identity);
            // With the resourceVersion that was read: of two that try at once one is refused.
            api.replace(name, &PostParams::default(), &Lease { spec: Some(spec), ..lease }).await
        }
    };
    match written {
        Ok(lease) => {
            seen.saw(lease.spec, Instant::now());
            Ok(true)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// The lease as it is when we hold it, after what it was.
fn held(before: Option<&LeaseSpec>, identity: &str) -> LeaseSpec {
    let unix_ms = i64::try_from(Clock::system().read().unix_ms()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_millisecond(unix_ms).ok().map(MicroTime);
    let ours = before.filter(|before| before.holder_identity.as_deref() == Some(identity));
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(LASTS_SECONDS),
        acquire_time: ours.map_or_else(|| now.clone(), |ours| ours.acquire_time.clone()),
        renew_time: now,
        lease_transitions: Some(before.and_then(|before| before.lease_transitions).unwrap_or(0) + i32::from(ours.is_none())),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_always_led_leads_and_who_has_not_renewed_does_not() {
        assert!(Lead::always().may_write());
        let lead = Lead::default();
        assert!(!lead.may_write());
        lead.set(Some(Instant::now() + Duration::from_secs(60)));
        assert!(lead.may_write());
        lead.set(Some(Instant::now()));
        assert!(!lead.may_write(), "a process that stood still knows that its time is over");
    }

    #[test]
    fn the_lease_counts_changes_of_its_holder_and_keeps_when_it_was_taken() {
        let first = held(None, "a");
        let renewed = held(Some(&first), "a");
        assert_eq!((first.lease_transitions, renewed.lease_transitions), (Some(1), Some(1)));
        assert_eq!(first.acquire_time, renewed.acquire_time);
        assert_eq!(held(Some(&renewed), "b").lease_transitions, Some(2));
        assert!(WRITES + CALL_MAX < Duration::from_secs(u64::from(LASTS_SECONDS.unsigned_abs())));
    }
}
