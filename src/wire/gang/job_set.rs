//! JobSet: Jobs by role, which start together unless the JobSet starts them in stages. Then those stages make the gang
//! that are open, until they are done: the others' pods do not exist yet.
//!
//! A role that has several Jobs is several roles, `workers-0` and `workers-1`: a pod knows its Job and its index in
//! that, and no more.

use serde_json::Value;

use super::draft::{Draft, count};
use super::{GangObject, Kind, SIZE_MAX};
use crate::model::{GangKind, Parts};

pub(super) const KIND: Kind =
    Kind { group: "jobset.x-k8s.io", versions: &["v1alpha2"], kind: "JobSet", plural: "jobsets", feed: "jobsets.jobset.x-k8s.io" };

const EXCLUSIVE: &str = "alpha.jobset.sigs.k8s.io/exclusive-topology";
const NODE_SELECTOR: &str = "alpha.jobset.sigs.k8s.io/node-selector";

/// One of `replicatedJobs`.
struct Replicated<'a> {
    name: &'a str,
    jobs: u64,
    pods_each: u64,
    depends_on: Vec<(&'a str, bool)>,
    exclusive: Option<&'a str>,
    /// How many of its Jobs run, and how many have ended well.
    ready: u64,
    succeeded: u64,
}

impl Replicated<'_> {
    fn is_done(&self) -> bool {
        self.succeeded >= self.jobs
    }

    fn is_ready(&self) -> bool {
        self.ready.saturating_add(self.succeeded) >= self.jobs
    }
}

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    let replicated = object.spec["replicatedJobs"].as_array().into_iter().flatten();
    let replicated: Vec<Replicated<'_>> = replicated.map(|value| replicated_job(object, value)).collect();
    let open: Vec<&Replicated<'_>> =
        replicated.iter().enumerate().filter(|(at, _)| is_open(object, &replicated, *at)).map(|(_, it)| it).collect();
    let jobs = open.iter().fold(0_u64, |sum, it| sum.saturating_add(it.jobs));
    let draft = Draft::of_roles(GangKind::JobSet, object.name(), open.iter().flat_map(|it| roles(it)).collect());
    let Some(first) = open.first() else { return Vec::new() };
    let alike = open.iter().all(|it| it.exclusive == first.exclusive && it.pods_each == first.pods_each);
    let Some(level) = first.exclusive.filter(|_| alike) else { return vec![draft] };
    let parts = u32::try_from(first.pods_each).ok().filter(|_| jobs > 1).map_or(Parts::Whole, Parts::Slices);
    // Each Job's other pods are made when its first one has a node, unless nodes are labelled beforehand.
    let leaders_first = object.annotation(NODE_SELECTOR).is_none();
    vec![draft.required(Some(level), parts).at_least(leaders_first.then_some(jobs))]
}

/// Its pods may exist, and not all have ended.
fn is_open(object: &GangObject, all: &[Replicated<'_>], at: usize) -> bool {
    let in_order = object.spec["startupPolicy"]["startupPolicyOrder"] == "InOrder";
    let staged = in_order || all.iter().any(|it| !it.depends_on.is_empty());
    let came = |(name, complete): &(&str, bool)| {
        all.iter().find(|it| it.name == *name).is_none_or(|it| if *complete { it.is_done() } else { it.is_ready() })
    };
    let opened = (!in_order || all[..at].iter().all(Replicated::is_ready)) && all[at].depends_on.iter().all(came);
    !staged || opened && !all[at].is_done()
}

fn replicated_job<'a>(object: &'a GangObject, value: &'a Value) -> Replicated<'a> {
    let (name, job) = (value["name"].as_str().unwrap_or_default(), &value["template"]["spec"]);
    let parallelism = count(&job["parallelism"], 1);
    let depends_on = value["dependsOn"].as_array().into_iter().flatten();
    let annotation = value["template"]["metadata"]["annotations"][EXCLUSIVE].as_str();
    let status = object.status.replicated_jobs_status.iter().find(|status| status.name == name);
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    Replicated {
        name,
        jobs: count(&value["replicas"], 1),
        pods_each: count(&job["completions"], parallelism).min(parallelism),
        depends_on: depends_on.filter_map(|on| Some((on["name"].as_str()?, on["status"] == "Complete"))).collect(),
        exclusive: object.annotation(EXCLUSIVE).or(annotation),
        ready: number(status.map(|status| status.ready)),
        succeeded: number(status.map(|status| status.succeeded)),
    }
}

fn roles(it: &Replicated<'_>) -> Vec<(String, u64)> {
    match it.jobs {
        0 => Vec::new(),
        1 => vec![(it.name.to_owned(), it.pods_each)],
        // Too many to be planned: one line says so as well.
        jobs if jobs > u64::from(SIZE_MAX) => vec![(it.name.to_owned(), jobs.saturating_mul(it.pods_each))],
        jobs => (0..jobs).map(|job| (format!("{}-{job}", it.name), it.pods_each)).collect(),
    }
}
