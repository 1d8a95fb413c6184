//! Objects that stand for gangs: one file a kind, one line each in [`KINDS`]. A file decides what its kind says of size,
//! minimum, roles and topology; here stands what they have in common: bounds, and who can be suspended.

mod draft;
mod job;
mod job_set;
mod koordinator;
mod kube_ray;
mod kubeflow;
mod leader_worker_set;
mod object;
mod pod_group;
mod scheduler_plugins;
#[cfg(test)]
mod tests;
mod volcano;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use object::GangObject;

use super::Kind;
use super::kinds::group;
use crate::model::{GangSpec, OwnerRef, PodKey};
use draft::Draft;
pub(super) use draft::{LEVEL_BYTES_MAX, SIZE_MAX, push};

/// A kind whose objects stand for gangs, or own and can suspend those that do.
#[derive(Debug)]
pub struct Reader {
    /// What it is called.
    pub kind: Kind,
    /// Where its objects have the switch that takes their pods back without failing them, if they have one.
    pub(crate) suspend: Option<&'static [&'static str]>,
    read: fn(&GangObject) -> Vec<Draft>,
}

const SPEC: Option<&[&str]> = Some(&["spec", "suspend"]);
const RUN_POLICY: Option<&[&str]> = Some(&["spec", "runPolicy", "suspend"]);

/// All of them.
pub const KINDS: &[Reader] = &[
    Reader { kind: pod_group::KIND, suspend: None, read: pod_group::read },
    Reader { kind: scheduler_plugins::KIND, suspend: None, read: scheduler_plugins::read },
    Reader { kind: volcano::KIND, suspend: None, read: volcano::read },
    Reader { kind: koordinator::KIND, suspend: None, read: koordinator::read },
    Reader { kind: job_set::KIND, suspend: SPEC, read: job_set::read },
    Reader { kind: leader_worker_set::KIND, suspend: None, read: leader_worker_set::read },
    Reader { kind: kubeflow::PYTORCH, suspend: RUN_POLICY, read: kubeflow::read },
    Reader { kind: kubeflow::TENSORFLOW, suspend: RUN_POLICY, read: kubeflow::read },
    Reader { kind: kubeflow::MPI, suspend: RUN_POLICY, read: kubeflow::read },
    Reader { kind: kubeflow::XGBOOST, suspend: RUN_POLICY, read: kubeflow::read },
    Reader { kind: kubeflow::PADDLE, suspend: RUN_POLICY, read: kubeflow::read },
    Reader { kind: kubeflow::JAX, suspend: RUN_POLICY, read: kubeflow::read },
    Reader { kind: kubeflow::TRAIN_JOB, suspend: SPEC, read: nothing },
    Reader { kind: kube_ray::CLUSTER, suspend: SPEC, read: kube_ray::read },
    Reader { kind: kube_ray::JOB, suspend: SPEC, read: nothing },
    Reader { kind: job::KIND, suspend: SPEC, read: job::read },
];

/// Of a kind that only owns what stands for a gang.
fn nothing(_: &GangObject) -> Vec<Draft> {
    Vec::new()
}

/// The reader of an object, by its `apiVersion` and `kind`.
pub fn reader_of(api_version: &str, kind: &str) -> Option<&'static Reader> {
    KINDS.iter().find(|reader| reader.kind.is(api_version, kind))
}

/// Whom to suspend so that a gang's pods are taken back, and whether we did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct Suspends {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    /// By the annotation that we write beside it.
    pub by_us: bool,
}

impl Suspends {
    /// The object itself, if its kind can be suspended. A switch that we wrote and that is not there is one that the installed
    /// version of the kind does not have: the API server dropped it.
    pub fn of(object: &GangObject) -> Option<Self> {
        let path = reader_of(&object.api_version, &object.kind)?.suspend?;
        let by_us = object.annotation(super::annotations::SUSPENDED) == Some("true");
        let switch = path.iter().skip(1).try_fold(&object.spec, |value, field| value.get(*field));
        if by_us && switch.is_none() {
            return None;
        }
        Some(Self {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            by_us,
        })
    }

    fn as_owner(&self, namespace: &str) -> OwnerRef {
        OwnerRef {
            api_version: self.api_version.as_str().into(),
            kind: self.kind.as_str().into(),
            key: PodKey::new(namespace, self.name.as_str()),
            uid: self.uid.as_str().into(),
        }
    }
}

/// The patch that suspends an owner or lets it go on, with the annotation that says that it was us.
pub fn suspension(owner: &OwnerRef, suspend: bool) -> Value {
    let switch = reader_of(&owner.api_version, &owner.kind).and_then(|reader| reader.suspend).or(SPEC).unwrap_or_default();
    let mut patch = switch.iter().rev().fold(Value::from(suspend), |inner, field| json!({*field: inner}));
    patch["metadata"] = json!({"uid": &*owner.uid, "annotations": {super::annotations::SUSPENDED: suspend.then_some("true")}});
    patch
}

/// What is known of an object as an owner.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// Itself, if it can be suspended.
    pub suspends: Option<&'a Suspends>,
    /// The UID of the owner that controls it.
    pub owner: Option<&'a str>,
}

/// A PodGroup of a Job of a JobSet of a TrainJob, and one to spare: an owner that owns itself ends somewhere.
pub const OWNERS_MAX: usize = 5;

/// The top-most of an object and its owners that can be suspended. Whoever makes an object names its owner: one of
/// another namespace is none.
pub fn topmost<'a>(uid: &'a str, known: impl Fn(&'a str) -> Option<Standing<'a>>) -> Option<&'a Suspends> {
    let namespace = known(uid)?.namespace;
    let (mut found, mut at) = (None, Some(uid));
    for _ in 0..OWNERS_MAX {
        let Some(standing) = at.and_then(&known).filter(|standing| standing.namespace == namespace) else { break };
        found = standing.suspends.or(found);
        at = standing.owner;
    }
    found
}

/// What one of several objects says of one of its gangs.
#[derive(Clone, Debug)]
pub struct GangNews {
    /// The gang.
    pub spec: GangSpec,
    /// The object.
    pub object: Arc<GangObject>,
    /// Which of its gangs.
    pub place: u32,
    /// The top-most owner that can be suspended.
    pub suspends: Option<Suspends>,
}

/// All gangs of these objects.
pub fn all(objects: Vec<GangObject>) -> Vec<GangNews> {
    let of: BTreeMap<String, Option<Suspends>> = objects.iter().map(|object| (object.uid().to_owned(), Suspends::of(object))).collect();
    let by_uid: BTreeMap<&str, &GangObject> = objects.iter().map(|object| (object.uid(), object)).collect();
    let standing = |uid: &str| {
        let object = by_uid.get(uid)?;
        let owner = object.controller().map(|owner| owner.uid.as_str());
        Some(Standing { namespace: object.namespace(), suspends: of.get(uid)?.as_ref(), owner })
    };
    let topmost: Vec<Option<Suspends>> = objects.iter().map(|object| topmost(object.uid(), standing).cloned()).collect();
    let news = |(object, suspends): (GangObject, Option<Suspends>)| {
        let object = Arc::new(object);
        let specs = specs(&object, suspends.as_ref()).into_iter();
        specs.zip(0..).map(move |(spec, place)| GangNews { spec, object: object.clone(), place, suspends: suspends.clone() })
    };
    objects.into_iter().zip(topmost).flat_map(news).collect()
}

/// The gangs that an object stands for: none, one, or one a replica. `suspends` is the top-most owner that can be
/// suspended, the object itself included.
pub fn specs(object: &GangObject, suspends: Option<&Suspends>) -> Vec<GangSpec> {
    let Some(reader) = reader_of(&object.api_version, &object.kind).filter(|_| !object.is_finished()) else { return Vec::new() };
    let suspend = suspends.map(|suspends| suspends.as_owner(object.namespace()));
    let by_us = suspends.is_some_and(|suspends| suspends.by_us);
    let drafts = (reader.read)(object).into_iter();
    drafts.filter_map(|draft| draft.finish(object, suspend.clone(), by_us)).collect()
}

/// Whether an owner's pods are told of by the owner's own owner: then it stands for no gang itself.
fn is_part_of_another(object: &GangObject) -> bool {
    object.controller().is_some_and(|owner| {
        matches!((group(&owner.api_version), &*owner.kind), ("jobset.x-k8s.io", "JobSet") | ("kubeflow.org", "MPIJob"))
    })
}
