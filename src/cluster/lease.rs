//! Two replicas, one voice: this Gangplank speaks only beside the active kube-scheduler, that is while the
//! kube-scheduler's lease is held by an identity that begins with our host name and `_`.
//!
//! Whether a lease is still valid is judged by how long ago *we* saw it change, never by comparing clocks of two
//! machines, as kube-scheduler itself judges it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Client;
use kube::api::Api;

use super::NamespacedName;
use crate::host::{Host, Part};

/// kube-scheduler renews every 2 s and gives up after 15 s: looking this often loses at most a second of a change.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// What a lease without a duration is taken to last; kube-scheduler's default.
const DURATION_DEFAULT: Duration = Duration::from_secs(15);

/// Gives and takes the host's voice for as long as it runs.
pub async fn follow_lease(client: Client, lease: NamespacedName, identity: String, host: Arc<Host>) {
    let api: Api<Lease> = Api::namespaced(client, &lease.namespace);
    let mut voice = Voice::new(format!("{identity}_"));
    loop {
        match tokio::time::timeout(LOOK_MAX, api.get_opt(&lease.name)).await {
            Ok(Ok(found)) => voice.saw(found.and_then(|lease| lease.spec), Instant::now()),
            // What was seen last holds until it runs out by itself.
            Ok(Err(error)) => tracing::warn!(%error, lease = %lease.name, "the lease cannot be read"),
            Err(_) => tracing::warn!(lease = %lease.name, "the lease was not read in time"),
        }
        host.voice_lasts(voice.until().map(Into::into));
        host.wait_for(Part::Voice, voice.missing(Instant::now()));
        tokio::time::sleep(LOOK).await;
    }
}

/// The last lease seen, and when it was seen to change.
#[derive(Debug, Default)]
pub(super) struct Watched(Option<(LeaseSpec, Instant)>);

impl Watched {
    pub(super) fn saw(&mut self, spec: Option<LeaseSpec>, now: Instant) {
        match (spec, &self.0) {
            (None, _) => self.0 = None,
            (Some(spec), Some((seen, _))) if spec == *seen => {}
            (Some(spec), _) => self.0 = Some((spec, now)),
        }
    }

    /// When the lease as last seen runs out.
    pub(super) fn until(&self) -> Option<Instant> {
        let (spec, changed) = self.0.as_ref()?;
        Some(*changed + lasts(spec))
    }
}

/// Whether the kube-scheduler beside us leads.
#[derive(Debug)]
struct Voice {
    prefix: String,
    seen: Watched,
}

impl Voice {
    fn new(prefix: String) -> Self {
        Self { prefix, seen: Watched::default() }
    }

    fn saw(&mut self, spec: Option<LeaseSpec>, now: Instant) {
        self.seen.saw(spec, now);
    }

    fn until(&self) -> Option<Instant> {
        self.seen.until()
    }

    /// What the voice waits for; `None` while we have it.
    fn missing(&self, now: Instant) -> Option<String> {
        let Some((spec, changed)) = &self.seen.0 else {
            return Some("a kube-scheduler to take the lease".into());
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if !holder.starts_with(&self.prefix) {
            return Some(format!("the kube-scheduler beside it to lead; `{holder}` does"));
        }
        (now.saturating_duration_since(*changed) >= lasts(spec)).then(|| "the kube-scheduler beside it to renew its lease".into())
    }
}

fn lasts(spec: &LeaseSpec) -> Duration {
    spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION_DEFAULT, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn only_the_neighbour_of_the_leader_has_the_voice() {
        let (mut voice, now) = (Voice::new("host-1_".into()), Instant::now());
        assert!(voice.missing(now).is_some(), "no lease yet");
        for (holder, has_voice) in
            [("host-1_abc", true), ("host-2_abc", false), ("host-10_abc", false), ("host-1", false), ("", false), ("host-1_def", true)]
        {
            voice.saw(Some(held_by(holder, 0)), now);
            assert_eq!(voice.missing(now).is_none(), has_voice, "{holder}");
        }
        voice.saw(None, now);
        assert!(voice.missing(now).is_some(), "the lease was deleted");
    }

    #[test]
    fn a_lease_that_nobody_renews_runs_out_by_our_own_clock() {
        let (mut voice, start) = (Voice::new("host-1_".into()), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        voice.saw(Some(held_by("host-1_abc", 1)), start);
        voice.saw(Some(held_by("host-1_abc", 1)), after(14));
        assert!(voice.missing(after(14)).is_none());
        assert!(voice.missing(after(15)).is_some(), "unchanged for its whole duration");
        assert_eq!(voice.until(), Some(after(15)), "so that a process that stood still knows without looking");
        voice.saw(Some(held_by("host-1_abc", 2)), after(16));
        assert!(voice.missing(after(16)).is_none(), "renewed");
    }

    #[test]
    fn a_lease_is_named_by_two_parts() {
        assert!("kube-system/kube-scheduler".parse::<NamespacedName>().is_ok());
        for text in ["", "a", "/a", "a/", "a/b/c"] {
            assert!(text.parse::<NamespacedName>().is_err(), "{text}");
        }
    }
}
