//! Which gang a pod is in, by the convention of whoever made it: one file a convention, one line each in
//! [`CONVENTIONS`], and of several on one pod the first counts. All of it is any tenant's to write: bounded, and what
//! cannot be read is kept as such, so that nothing is placed on a guess.

mod annotation;
mod job_set;
mod koordinator;
mod kube_ray;
mod kubeflow;
mod kueue;
mod leader_worker_set;
mod owner;
mod pod_group;
mod scheduler_plugins;
mod volcano;
mod wishes;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::PodObject;
use crate::model::{GangId, GangKind, GangRef, PodKey, TopologyWishes};
use crate::wire::annotations::GANG_MIN;
use crate::wire::gang::SIZE_MAX;
use crate::wire::kinds::group;

/// In the order of [`GangKind`].
const CONVENTIONS: &[Convention] = &[
    Convention { read: pod_group::read, seat: nowhere },
    Convention { read: scheduler_plugins::read, seat: nowhere },
    Convention { read: volcano::read, seat: volcano::seat },
    Convention { read: koordinator::read, seat: koordinator::seat },
    Convention { read: kueue::read, seat: kueue::seat },
    Convention { read: job_set::read, seat: job_set::seat },
    Convention { read: leader_worker_set::read, seat: leader_worker_set::seat },
    Convention { read: kubeflow::read, seat: kubeflow::seat },
    Convention { read: kube_ray::read, seat: kube_ray::seat },
    Convention { read: annotation::read, seat: nowhere },
    Convention { read: owner::read, seat: owner::seat },
];

struct Convention {
    /// The gang that the pod says it is in.
    read: fn(&Marks<'_>) -> Option<Found>,
    /// Which member it is. A convention that names gangs only leaves that to those of whoever made the pod.
    seat: fn(&Marks<'_>) -> Option<Seat>,
}

/// A gang as a convention tells it.
struct Found {
    kind: GangKind,
    name: String,
    uid: String,
    size: Count,
    min: Count,
}

impl Found {
    /// A gang that members know by its name alone.
    fn named(kind: GangKind, name: &str) -> Self {
        Self { kind, name: name.to_owned(), uid: String::new(), size: Count::Absent, min: Count::Absent }
    }
}

/// Which member of a gang a pod is.
#[derive(Default)]
struct Seat {
    role: String,
    rank: Option<u32>,
}

/// A number that a tenant writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Absent,
    Members(u32),
    /// No number, or not one of members.
    Unreadable,
}

impl Count {
    fn of(text: Option<&str>) -> Self {
        let read = |text: &str| text.parse().ok().filter(|count| (1..=SIZE_MAX).contains(count));
        text.map_or(Self::Absent, |text| read(text).map_or(Self::Unreadable, Self::Members))
    }

    fn known(self) -> Option<u32> {
        if let Self::Members(members) = self { Some(members) } else { None }
    }

    fn or(self, other: Self) -> Self {
        if self == Self::Absent { other } else { self }
    }
}

/// What conventions look at.
struct Marks<'a>(&'a PodObject);

impl<'a> Marks<'a> {
    fn label(&self, key: &str) -> Option<&'a str> {
        self.0.metadata.labels.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn annotation(&self, key: &str) -> Option<&'a str> {
        self.0.annotation(key).filter(|value| !value.is_empty())
    }

    /// The owner that controls the pod, if it is of a kind of this group.
    fn controller(&self, of_group: &str) -> Option<&'a OwnerReference> {
        let owner = self.0.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
        (group(&owner.api_version) == of_group).then_some(owner)
    }

    fn completion_index(&self) -> Option<u32> {
        index(self.annotation(COMPLETION_INDEX).or_else(|| self.label(COMPLETION_INDEX)))
    }
}

const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// As long as a name may be.
const NAME_BYTES_MAX: usize = 253;

/// A place that counts from 0.
fn index(text: Option<&str>) -> Option<u32> {
    text?.parse().ok().filter(|index| *index < SIZE_MAX)
}

/// A convention that does not say which member a pod is.
fn nowhere(_: &Marks<'_>) -> Option<Seat> {
    None
}

/// The gang of a pod, and how near to each other its members want to be.
pub(super) fn read(pod: &PodObject, namespace: &str) -> (Option<GangRef>, TopologyWishes) {
    let marks = Marks(pod);
    let mut wishes = wishes::read(&marks);
    let found = CONVENTIONS.iter().find_map(|convention| (convention.read)(&marks).map(|found| (convention, found)));
    let gang = found.map(|(convention, found)| {
        if let Some(problem) = problem(&found) {
            wishes.unreadable = Some(Arc::from(problem));
        }
        let Seat { role, rank } = (convention.seat)(&marks)
            .or_else(|| CONVENTIONS.iter().find_map(|other| (other.seat)(&marks)))
            .unwrap_or_else(|| Seat { role: String::new(), rank: marks.completion_index() });
        let size = found.size.known();
        // Without a size the object is asked, for both.
        let min = found.min.or(Count::of(marks.annotation(GANG_MIN))).known().filter(|_| size.is_some());
        let (name, role) = (cut(&found.name), cut(&role));
        GangRef {
            id: GangId { kind: found.kind, key: PodKey::new(namespace, name), uid: cut(&found.uid).into() },
            size,
            min: min.filter(|min| size.is_none_or(|size| *min <= size)),
            role: role.into(),
            rank,
        }
    });
    (gang, wishes)
}

fn problem(found: &Found) -> Option<String> {
    let kind = found.kind.name();
    if found.name.len() > NAME_BYTES_MAX {
        return Some(format!("the name of the {kind} gang is longer than {NAME_BYTES_MAX} bytes"));
    }
    if found.size == Count::Unreadable || found.min == Count::Unreadable {
        return Some(format!("the size of the {kind} gang is no number within 1..={SIZE_MAX}"));
    }
    None
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= NAME_BYTES_MAX).last().unwrap_or(0);
    if text.len() <= NAME_BYTES_MAX { text } else { &text[..end] }
}
