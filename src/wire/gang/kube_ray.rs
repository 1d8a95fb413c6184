//! RayCluster: a head and groups of workers. With KubeRay's label for gangs all of it starts together; without, the head
//! and as many workers as the groups say they need at least. RayJob makes a RayCluster, and is read only for that it can
//! be suspended.

use serde_json::Value;

use super::draft::{Draft, count};
use super::{GangObject, Kind};
use crate::model::GangKind;

pub(super) const CLUSTER: Kind =
    Kind { group: "ray.io", versions: &["v1"], kind: "RayCluster", plural: "rayclusters", feed: "rayclusters.ray.io" };
pub(super) const JOB: Kind = Kind { group: "ray.io", versions: &["v1"], kind: "RayJob", plural: "rayjobs", feed: "rayjobs.ray.io" };

const GANG: &str = "ray.io/gang-scheduling-enabled";

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    let groups: Vec<&Value> = object.spec["workerGroupSpecs"].as_array().into_iter().flatten().collect();
    let pods = |group: &Value, replicas: u64| replicas.saturating_mul(count(&group["numOfHosts"], 1));
    let least = |group: &Value| pods(group, count(&group["minReplicas"], 0));
    let role = |group: &&Value| {
        let name = group["groupName"].as_str().unwrap_or_default().to_owned();
        (name, pods(group, count(&group["replicas"], count(&group["minReplicas"], 0))))
    };
    let roles = [("head".to_owned(), 1)].into_iter().chain(groups.iter().map(role)).collect();
    let together = object.label(GANG) == Some("true");
    let min = groups.iter().fold(1_u64, |sum, group| sum.saturating_add(least(group)));
    vec![Draft::of_roles(GangKind::KubeRay, object.name(), roles).at_least((!together).then_some(min))]
}
