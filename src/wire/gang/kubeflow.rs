//! Jobs of Kubeflow's training operator and of its MPI operator: replica specs by role. TrainJob of Trainer v2 makes a
//! JobSet, and is read only for that it can be suspended.

use serde_json::Value;

use super::draft::{Draft, count, count_if_any};
use super::{GangObject, Kind};
use crate::model::GangKind;

const fn job(versions: &'static [&'static str], kind: &'static str, plural: &'static str, feed: &'static str) -> Kind {
    Kind { group: "kubeflow.org", versions, kind, plural, feed }
}

pub(super) const PYTORCH: Kind = job(&["v1"], "PyTorchJob", "pytorchjobs", "pytorchjobs.kubeflow.org");
pub(super) const TENSORFLOW: Kind = job(&["v1"], "TFJob", "tfjobs", "tfjobs.kubeflow.org");
pub(super) const MPI: Kind = job(&["v2beta1", "v1"], "MPIJob", "mpijobs", "mpijobs.kubeflow.org");
pub(super) const XGBOOST: Kind = job(&["v1"], "XGBoostJob", "xgboostjobs", "xgboostjobs.kubeflow.org");
pub(super) const PADDLE: Kind = job(&["v1"], "PaddleJob", "paddlejobs", "paddlejobs.kubeflow.org");
pub(super) const JAX: Kind = job(&["v1"], "JAXJob", "jaxjobs", "jaxjobs.kubeflow.org");
pub(super) const TRAIN_JOB: Kind = Kind {
    group: "trainer.kubeflow.org",
    versions: &["v1alpha1"],
    kind: "TrainJob",
    plural: "trainjobs",
    feed: "trainjobs.trainer.kubeflow.org",
};

const REPLICA_SPECS: &[&str] =
    &["pytorchReplicaSpecs", "tfReplicaSpecs", "mpiReplicaSpecs", "xgbReplicaSpecs", "paddleReplicaSpecs", "jaxReplicaSpecs"];
/// Roles in the order of ranks: the first of those that are there has rank 0.
const ROLES: &[&str] = &["Launcher", "Chief", "Master", "Worker", "PS", "Evaluator"];

pub(super) fn read(object: &GangObject) -> Vec<Draft> {
    let spec = &object.spec;
    let Some(specs) = REPLICA_SPECS.iter().map(|field| &spec[*field]).find(|specs| specs.is_object()) else { return Vec::new() };
    let members = |role: &str| specs.get(role).filter(|role| role.is_object()).map(|role| count(&role["replicas"], 1));
    let roles: Vec<_> = ROLES.iter().filter_map(|role| Some((role.to_lowercase(), members(role)?))).collect();
    let sum = |leaving_out: &str| roles.iter().filter(|(role, _)| role != leaving_out).fold(0, |sum, (_, n)| u64::saturating_add(sum, *n));
    let min = count_if_any(&spec["runPolicy"]["schedulingPolicy"]["minAvailable"])
        .or_else(|| elastic_min(&spec["elasticPolicy"]).map(|workers| workers.saturating_add(sum("worker"))))
        // The launcher is made when the workers run.
        .or_else(|| (spec["launcherCreationPolicy"] == "WaitForWorkersReady").then(|| sum("launcher")));
    vec![Draft::of_roles(GangKind::Kubeflow, object.name(), roles).at_least(min)]
}

fn elastic_min(policy: &Value) -> Option<u64> {
    count_if_any(&policy["minReplicas"])
}
