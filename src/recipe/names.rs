//! Names that recipes write on objects: Gangplank's annotations, and who made an object.

/// API group of specs.
pub const GROUP: &str = "gangplank.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Who owns the fields of applied objects.
pub const FIELD_MANAGER: &str = "gangplank-provision";
/// The label that says who made an object; its value is [`FIELD_MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

pub(super) const NAME: &str = "app.kubernetes.io/name";
/// The scheduler that Gangplank extends, as deploy/second-scheduler installs it.
pub(super) const SCHEDULER: &str = "gangplank";
pub(super) const GANG: &str = "gangplank.dev/gang";
pub(super) const GANG_SIZE: &str = "gangplank.dev/gang-size";
pub(super) const GANG_MIN: &str = "gangplank.dev/gang-min";
pub(super) const TOPOLOGY_REQUIRED: &str = "gangplank.dev/topology-required";
pub(super) const TOPOLOGY_PREFERRED: &str = "gangplank.dev/topology-preferred";
pub(super) const PROFILE: &str = "gangplank.dev/profile";
pub(super) const EXPECTED_DURATION: &str = "gangplank.dev/expected-duration";
/// The queue of Kueue that a workload waits in.
pub(super) const KUEUE_QUEUE: &str = "kueue.x-k8s.io/queue-name";
pub(super) const JOB_NAME: &str = "batch.kubernetes.io/job-name";
pub(super) const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

#[cfg(test)]
#[cfg(feature = "io")]
mod tests {
    use crate::wire::annotations;

    /// `wire` reads what is written here; it stands below, so that the names stand twice.
    #[test]
    fn annotations_are_those_that_gangplank_reads() {
        for (ours, read) in [
            (super::GANG, annotations::GANG),
            (super::GANG_SIZE, annotations::GANG_SIZE),
            (super::GANG_MIN, annotations::GANG_MIN),
            (super::TOPOLOGY_REQUIRED, annotations::TOPOLOGY_REQUIRED),
            (super::TOPOLOGY_PREFERRED, annotations::TOPOLOGY_PREFERRED),
            (super::PROFILE, annotations::PROFILE),
            (super::EXPECTED_DURATION, annotations::EXPECTED_DURATION),
        ] {
            assert_eq!(ours, read);
        }
    }
}
