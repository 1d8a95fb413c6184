//! The Kubernetes side: watches become news for the host, orders and effects become API calls. It decides what is
//! read, how a broken connection is noticed, and when this replica may speak; it decides nothing about placement.
//!
//! ```text
//! watches --> Intake --> Host       a feed that ends or stays broken closes the door: 503
//! kinds   --> Gangs  --> Host       of what is installed, objects that stand for gangs
//! relist  --> Intake --> Host       every few minutes, the whole truth
//! lease   --> voice                 beside the active kube-scheduler or silent
//! Binder, effects --> KubeWriter    Bindings, touches, events
//! ```

mod connect;
mod contact;
mod effects;
mod follow;
mod foreign;
mod gangs;
mod intake;
mod kinds;
mod lead;
mod lease;
mod named;
mod provision;
mod relist;
mod requests;
mod session;
pub mod webhook_config;
mod writer;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

pub use connect::{ConnectError, connect};
pub use effects::carry_out;
pub use lead::{LEAD_VERBS, Lead};
pub use lease::follow_lease;
pub use named::{NamespacedName, NamespacedNameError};
pub use session::{Fatal, Session, SessionLimits};
pub use writer::KubeWriter;
pub(crate) use writer::meaning;

/// API verbs that `gangplank serve` uses, as (group, resource, verb): [`verbs`] has all of them.
const VERBS: &[(&str, &str, &str)] = &[
    ("", "events", "list"),
    ("", "events", "watch"),
    ("", "nodes", "list"),
    ("", "nodes", "watch"),
    ("", "persistentvolumes", "list"),
    ("", "persistentvolumes", "watch"),
    ("", "pods", "get"),
    ("", "pods", "list"),
    ("", "pods", "patch"),
    ("", "pods", "watch"),
    ("", "pods/binding", "create"),
    ("", "pods/eviction", "create"),
    ("", "pods/status", "patch"),
    ("", "resourcequotas", "list"),
    ("", "resourcequotas", "watch"),
    ("autoscaling.x-k8s.io", "provisioningrequests", "list"),
    ("autoscaling.x-k8s.io", "provisioningrequests", "watch"),
    ("events.k8s.io", "events", "create"),
    ("events.k8s.io", "events", "patch"),
    ("gangplank.dev", "acceleratornodes", "list"),
    ("gangplank.dev", "acceleratornodes", "watch"),
    ("kueue.x-k8s.io", "topologies", "list"),
    ("kueue.x-k8s.io", "topologies", "watch"),
    ("policy", "poddisruptionbudgets", "list"),
    ("policy", "poddisruptionbudgets", "watch"),
    ("scheduling.k8s.io", "priorityclasses", "list"),
    ("scheduling.k8s.io", "priorityclasses", "watch"),
    ("topology.volcano.sh", "hypernodes", "list"),
    ("topology.volcano.sh", "hypernodes", "watch"),
];

/// Every API verb that `gangplank serve` uses: deploy/base/rbac.yaml grants these. Kinds that stand for gangs are listed
/// and watched, and patched where they can be suspended.
pub fn verbs() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of_kind = |reader: &'static crate::wire::gang::Reader| {
        let verbs = ["list", "watch"].into_iter().chain(reader.suspend.map(|_| "patch"));
        verbs.map(|verb| (reader.kind.group, reader.kind.plural, verb))
    };
    VERBS.iter().copied().chain(crate::wire::gang::KINDS.iter().flat_map(of_kind))
}

/// As [`verbs`], in the lease's namespace, with `--lease`.
pub const LEASE_VERBS: &[(&str, &str, &str)] = &[("coordination.k8s.io", "leases", "get")];

/// As [`verbs`], where a profile asks autoscalers for nodes by a ProvisioningRequest.
pub const PROVISION_VERBS: &[(&str, &str, &str)] = &[
    ("", "podtemplates", "create"),
    ("", "podtemplates", "delete"),
    ("autoscaling.x-k8s.io", "provisioningrequests", "create"),
    ("autoscaling.x-k8s.io", "provisioningrequests", "delete"),
];

/// Between a half and the whole of `span`: replicas and restarts must not march in step.
pub(crate) fn jittered(span: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let share = 0.5 + 0.5 * (random as f64 / u64::MAX as f64);
    span.mul_f64(share)
}
