//! A cluster of one spec: what the API server keeps, what the Job controller and a scheduler make of it. Deterministic by its seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::drive::{Act, Driver, Rules, Seen, Write, is_of, when};
use crate::model::Time;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// 409, 429, 500, a time-out before: nothing is written.
    Refused,
    /// A time-out after: it is written, and nobody is told.
    Unheard,
}

/// Everything there is.
pub(super) struct World {
    pub(super) object: Value,
    pub(super) objects: Vec<Value>,
    pub(super) pods: Vec<Value>,
    pub(super) now: Time,
    /// How many pods may have a node.
    pub(super) nodes: usize,
    /// Pods that work end well.
    pub(super) ends: bool,
    pub(super) dice: StdRng,
    serial: u64,
}

/// What is looked at later: it plays no further, so that its dice need not be the same.
impl Clone for World {
    fn clone(&self) -> Self {
        let (object, objects, pods) = (self.object.clone(), self.objects.clone(), self.pods.clone());
        Self { object, objects, pods, dice: StdRng::seed_from_u64(self.serial), ..*self }
    }
}

impl World {
    pub(super) fn new(seed: u64, kind: &str, spec: &Value) -> Self {
        let now = Time::from_unix_ms(1_800_000_000_000);
        let object = json!({"apiVersion": "gangplank.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "train", "namespace": "team", "uid": "spec-uid", "resourceVersion": "1", "generation": 1}, "spec": spec});
        let dice = StdRng::seed_from_u64(seed);
        Self { object, objects: Vec::new(), pods: Vec::new(), now, nodes: usize::MAX, ends: false, dice, serial: 1 }
    }

    pub(super) fn chance(&mut self, in_100: u32) -> bool {
        self.dice.random_range(0..100) < in_100
    }

    pub(super) fn job(&self) -> Option<&Value> {
        self.objects.iter().find(|object| object["kind"] == "Job")
    }

    /// What the driver wants, given what it sees.
    pub(super) fn asked(&self, driver: &Driver) -> crate::drive::Next {
        let uid = self.object["metadata"]["uid"].as_str().unwrap();
        let owned: Vec<&Value> = self.objects.iter().filter(|object| is_of(object, uid)).collect();
        let pods: Vec<&Value> = self.pods.iter().collect();
        let seen = Seen { object: &self.object, owned: &owned, pods: &pods, refused: None };
        driver.next(&seen, &Rules::default(), self.now)
    }

    /// The spec is changed by its author.
    pub(super) fn edit(&mut self, field: &str, value: Value) {
        self.object["spec"][field] = value;
        let generation = self.object["metadata"]["generation"].as_u64().unwrap();
        self.object["metadata"]["generation"] = json!(generation + 1);
        self.touch_spec();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.object.is_null()
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn touch_spec(&mut self) {
        self.object["metadata"]["resourceVersion"] = json!(self.serial().to_string());
    }

    /// A write as the API server takes it; false where it refuses.
    pub(super) fn write(&mut self, write: &Write, fate: Fate) -> bool {
        if fate == Fate::Refused {
            return false;
        }
        let taken = match write.step.act {
            Act::Status => self.write_status(&write.object),
            Act::Apply | Act::Ensure => self.apply(&write.object),
            Act::Hold => self.hold(&write.object),
            Act::Delete => self.delete(&write.object),
        };
        taken && fate == Fate::Done
    }

    fn write_status(&mut self, status: &Value) -> bool {
        let same = |field: &str| status["metadata"][field] == self.object["metadata"][field];
        if self.is_gone() || !same("uid") || !same("resourceVersion") {
            return false;
        }
        self.object["status"] = status["status"].clone();
        self.touch_spec();
        true
    }

    fn apply(&mut self, object: &Value) -> bool {
        if self.is_gone() {
            // Its owner is not there: the garbage collector takes it at once.
            return true;
        }
        let same = |other: &Value| other["kind"] == object["kind"] && other["metadata"]["name"] == object["metadata"]["name"];
        let (uid, now) = (format!("uid-{}", self.serial()), when::text(self.now));
        match self.objects.iter_mut().find(|other| same(other)) {
            Some(there) if there["kind"] == "Job" => {
                if there["spec"]["template"] != object["spec"]["template"] {
                    return false;
                }
            }
            Some(there) => {
                let metadata = there["metadata"].clone();
                *there = object.clone();
                there["metadata"]["uid"] = metadata["uid"].clone();
            }
            None => {
                let mut object = object.clone();
                object["metadata"]["uid"] = json!(uid);
                object["metadata"]["creationTimestamp"] = json!(now);
                self.objects.push(object);
            }
        }
        true
    }

    fn hold(&mut self, fields: &Value) -> bool {
        let same = |other: &&mut Value| other["metadata"]["uid"] == fields["metadata"]["uid"];
        let Some(there) = self.objects.iter_mut().find(same) else { return false };
        let held = fields["spec"]["suspend"] == true;
        there["spec"]["suspend"] = json!(held);
        there["metadata"]["annotations"]["gangplank.dev/suspended-by-spec"] =
            fields["metadata"]["annotations"]["gangplank.dev/suspended-by-spec"].clone();
        true
    }

    fn delete(&mut self, of: &Value) -> bool {
        let uid = &of["metadata"]["uid"];
        if self.object["metadata"]["uid"] == *uid {
            (self.object, self.objects, self.pods) = (Value::Null, Vec::new(), Vec::new());
            return true;
        }
        let now = when::text(self.now);
        let found = self.objects.iter_mut().find(|object| object["metadata"]["uid"] == *uid);
        found.into_iter().for_each(|object| object["metadata"]["deletionTimestamp"] = json!(now));
        true
    }

    /// Time passes, and controllers do some of what they have to.
    pub(super) fn passes(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        for at in (0..self.objects.len()).rev() {
            if self.objects[at]["kind"] != "Job" {
                continue;
            }
            let uid = self.objects[at]["metadata"]["uid"].as_str().unwrap().to_owned();
            if self.objects[at]["metadata"]["deletionTimestamp"].is_string() {
                let had = self.pods.len();
                self.pods.retain(|pod| !is_of(pod, &uid));
                if had == self.pods.len() {
                    self.objects.remove(at);
                }
                continue;
            }
            let mut job = self.objects[at].clone();
            self.job_controller(&mut job, &uid);
            self.objects[at] = job;
        }
        self.kubelets();
    }

    fn job_controller(&mut self, job: &mut Value, uid: &str) {
        let ended = |job: &Value, kind: &str| job["status"]["conditions"].as_array().into_iter().flatten().any(|it| it["type"] == kind);
        if ended(job, "Complete") || ended(job, "Failed") {
            return;
        }
        let of_it = |pod: &&Value| is_of(pod, uid);
        if job["spec"]["suspend"] == true {
            self.pods.retain(|pod| !is_of(pod, uid) || pod["status"]["phase"] == "Succeeded");
            job["status"]["startTime"] = Value::Null;
            return;
        }
        if job["status"]["startTime"].is_null() {
            job["status"]["startTime"] = json!(when::text(self.now));
        }
        let wanted = job["spec"]["completions"].as_u64().unwrap();
        let phase = |pod: &Value, phase: &str| pod["status"]["phase"] == phase;
        let lost = |pod: &Value| pod["status"]["conditions"].as_array().into_iter().flatten().any(|it| it["type"] == "DisruptionTarget");
        if self.pods.iter().filter(of_it).any(|pod| phase(pod, "Failed") && !lost(pod)) && job["spec"]["backoffLimit"] == 0 {
            job["status"]["conditions"] =
                json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "one failed"}]);
            return;
        }
        self.pods.retain(|pod| !is_of(pod, uid) || !phase(pod, "Failed"));
        let done = self.pods.iter().filter(of_it).filter(|pod| phase(pod, "Succeeded")).count();
        if done as u64 == wanted {
            job["status"]["conditions"] = json!([{"type": "Complete", "status": "True"}]);
            return;
        }
        for index in 0..wanted {
            if self.pods.iter().filter(of_it).any(|pod| pod["index"] == index) {
                continue;
            }
            let number = self.serial();
            let owner = json!([{"controller": true, "uid": uid}]);
            let metadata = json!({"name": format!("pod-{number}"), "creationTimestamp": when::text(self.now), "ownerReferences": owner});
            self.pods.push(json!({"index": index, "metadata": metadata, "spec": {}, "status": {"phase": "Pending"}}));
        }
    }

    /// A gang is placed whole, begins to work, and ends.
    fn kubelets(&mut self) {
        let placed = self.pods.len() <= self.nodes;
        for pod in &mut self.pods {
            match pod["status"]["phase"].as_str() {
                Some("Pending") if placed => {
                    pod["spec"]["nodeName"] = json!("node");
                    pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
                }
                Some("Running") if self.ends => pod["status"] = json!({"phase": "Succeeded"}),
                _ => {}
            }
        }
    }

    /// A worker fails by itself, or is lost with its node.
    pub(super) fn hurt(&mut self, lost: bool) {
        let working: Vec<usize> = (0..self.pods.len()).filter(|at| self.pods[*at]["status"]["phase"] == "Running").collect();
        if working.is_empty() {
            return;
        }
        let at = working[self.dice.random_range(0..working.len())];
        let conditions = if lost { json!([{"type": "DisruptionTarget", "status": "True"}]) } else { json!([]) };
        self.pods[at]["status"] = json!({"phase": "Failed", "conditions": conditions});
    }
}
