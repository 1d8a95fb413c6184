//! Objects that stand for gangs, among manifests: those of workloads get the UID that the pods made of them name as their
//! owner's, those of a cluster have their own.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{name, names, namespace};
use crate::wire::gang::{GangObject, reader_of};

/// The object as it stands in a cluster; none for a kind that stands for no gang, or one that cannot be read.
pub fn gang_of_cluster(object: &Value) -> Option<GangObject> {
    reader_of(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
    let read = GangObject::deserialize(object).ok()?;
    if read.uid().is_empty() { gang_of_workload(object) } else { Some(read) }
}

/// The object as it would stand there once created. A CronJob's is the Job of one run.
pub fn gang_of_workload(object: &Value) -> Option<GangObject> {
    let (kind, name) = (object["kind"].as_str()?, name(object)?);
    if object["apiVersion"] == "batch/v1" && kind == "CronJob" {
        let metadata = json!({"name": format!("{name}-1"), "namespace": namespace(object)});
        let run = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": object["spec"]["jobTemplate"]["spec"]});
        return gang_of_workload(&run);
    }
    reader_of(object["apiVersion"].as_str()?, kind)?;
    let mut read = GangObject::deserialize(object).ok()?;
    read.metadata.uid = Some(names::uid(&[namespace(object), kind, &name]));
    read.metadata.name = Some(name);
    Some(read)
}
