//! Kinds that make gangs: JobSet, LeaderWorkerSet, Kubeflow's jobs and RayCluster, with names, labels, annotations and
//! owners as their controllers give them. All pods are made at once: who waits for whom is not simulated.

use serde_json::Value;

use super::controllers::{Owner, count, pods};
use super::{ExpandError, Expanded, names};

/// The pods of one of these kinds; none for any other.
pub(super) fn expand(group: &str, kind: &str, object: &Value) -> Option<Result<Expanded, ExpandError>> {
    let make = match (group, kind) {
        ("jobset.x-k8s.io", "JobSet") => job_set,
        ("leaderworkerset.x-k8s.io", "LeaderWorkerSet") => leader_worker_set,
        ("kubeflow.org", _) if replica_specs(object).is_some() => kubeflow,
        ("ray.io", "RayCluster") => ray_cluster,
        _ => return None,
    };
    Some(Owner::of(object).and_then(|owner| make(&owner, object)))
}

fn job_set(owner: &Owner, object: &Value) -> Result<Expanded, ExpandError> {
    let uid = names::uid(&[&owner.namespace, &owner.kind, &owner.name]);
    let mut all = Vec::new();
    for replicated in list(&object["spec"]["replicatedJobs"]) {
        let name = replicated["name"].as_str().unwrap_or_default();
        let (replicas, spec) = (owner.bounded(count(replicated, &["replicas"], 1))?, &replicated["template"]["spec"]);
        let parallelism = count(spec, &["parallelism"], 1);
        let each = count(spec, &["completions"], parallelism).min(parallelism);
        owner.bounded((all.len() as u64).saturating_add(replicas.saturating_mul(each)))?;
        for job in 0..replicas {
            let job_name = format!("{}-{name}-{job}", owner.name);
            let child =
                Owner { api_version: "batch/v1".into(), kind: "Job".into(), name: job_name.clone(), namespace: owner.namespace.clone() };
            for index in 0..each {
                let (job, index, replicas) = (job.to_string(), index.to_string(), replicas.to_string());
                let marks = [
                    ("jobset.sigs.k8s.io/jobset-name", owner.name.as_str()),
                    ("jobset.sigs.k8s.io/jobset-uid", &uid),
                    ("jobset.sigs.k8s.io/replicatedjob-name", name),
                    ("jobset.sigs.k8s.io/replicatedjob-replicas", &replicas),
                    ("jobset.sigs.k8s.io/job-index", &job),
                    ("batch.kubernetes.io/job-completion-index", &index),
                    ("batch.kubernetes.io/job-name", &job_name),
                ];
                let suffix = names::suffix(&[&owner.namespace, &job_name, &index], 5);
                all.push(child.pod(&spec["template"], &format!("{job_name}-{index}-{suffix}"), &marks, &marks[..6]));
            }
        }
    }
    Ok(pods(all))
}

fn leader_worker_set(owner: &Owner, object: &Value) -> Result<Expanded, ExpandError> {
    let template = &object["spec"]["leaderWorkerTemplate"];
    let (replicas, size) = (count(object, &["spec", "replicas"], 1), count(template, &["size"], 1).max(1));
    owner.bounded(replicas.saturating_mul(size))?;
    let leader = Some(&template["leaderTemplate"]).filter(|leader| leader.is_object()).unwrap_or(&template["workerTemplate"]);
    let pod = |group: u64, worker: u64| {
        let group_name = format!("{}-{group}", owner.name);
        let (group, index, size) = (group.to_string(), worker.to_string(), size.to_string());
        let labels = [
            ("leaderworkerset.sigs.k8s.io/name", owner.name.as_str()),
            ("leaderworkerset.sigs.k8s.io/group-index", &group),
            ("leaderworkerset.sigs.k8s.io/worker-index", &index),
        ];
        let set = |name: &str| Owner {
            api_version: "apps/v1".into(),
            kind: "StatefulSet".into(),
            name: name.to_owned(),
            namespace: owner.namespace.clone(),
        };
        let annotations = [("leaderworkerset.sigs.k8s.io/size", size.as_str())];
        match worker {
            0 => set(&owner.name).pod(leader, &group_name, &labels, &annotations),
            _ => set(&group_name).pod(&template["workerTemplate"], &format!("{group_name}-{worker}"), &labels, &annotations),
        }
    };
    Ok(pods(
        (0..replicas).flat_map(|group| (0..size).map(move |worker| (group, worker))).map(|(group, worker)| pod(group, worker)).collect(),
    ))
}

fn replica_specs(object: &Value) -> Option<&Value> {
    object["spec"].as_object()?.iter().find(|(key, specs)| key.ends_with("ReplicaSpecs") && specs.is_object()).map(|(_, specs)| specs)
}

fn kubeflow(owner: &Owner, object: &Value) -> Result<Expanded, ExpandError> {
    let mut all = Vec::new();
    for (kind, replica) in replica_specs(object).and_then(Value::as_object).into_iter().flatten() {
        let replicas = count(replica, &["replicas"], 1);
        owner.bounded((all.len() as u64).saturating_add(replicas))?;
        let role = kind.to_lowercase();
        for index in 0..replicas {
            let text = index.to_string();
            let labels = [
                ("training.kubeflow.org/job-name", owner.name.as_str()),
                ("training.kubeflow.org/replica-type", &role),
                ("training.kubeflow.org/replica-index", &text),
            ];
            all.push(owner.pod(&replica["template"], &format!("{}-{role}-{index}", owner.name), &labels, &[]));
        }
    }
    Ok(pods(all))
}

fn ray_cluster(owner: &Owner, object: &Value) -> Result<Expanded, ExpandError> {
    let spec = &object["spec"];
    let pod = |template: &Value, name: &str, node_type: &str, group: &str| {
        let labels = [("ray.io/cluster", owner.name.as_str()), ("ray.io/node-type", node_type), ("ray.io/group", group)];
        owner.pod(template, name, &labels, &[])
    };
    let mut all = vec![pod(&spec["headGroupSpec"]["template"], &format!("{}-head", owner.name), "head", "headgroup")];
    for group in list(&spec["workerGroupSpecs"]) {
        let name = group["groupName"].as_str().unwrap_or_default();
        let workers = count(group, &["replicas"], 0).saturating_mul(count(group, &["numOfHosts"], 1));
        owner.bounded((all.len() as u64).saturating_add(workers))?;
        for index in 0..workers {
            let suffix = names::suffix(&[&owner.namespace, &owner.name, name, &index.to_string()], 5);
            all.push(pod(&group["template"], &format!("{}-{name}-worker-{suffix}", owner.name), "worker", name));
        }
    }
    Ok(pods(all))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{GangKind, Pod};
    use crate::policy::Profile;
    use crate::wire::PodObject;
    use crate::wire::gang::specs;
    use crate::wire::manifest::{expand, gang_of_workload, namespace};
    use serde::Deserialize;

    fn template() -> Value {
        json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": 1}}}]}})
    }

    /// The pods that a manifest stands for are members of the gangs that its object stands for, each role as often as it says.
    fn check(object: &Value, kind: GangKind, gangs: usize, size: u32) {
        let Ok(Expanded::Pods { pods, .. }) = expand(object, &|_| Vec::new()) else { panic!("{object}") };
        let classes = Profile::shipped().classes;
        let read = |pod: &Value| PodObject::deserialize(pod).unwrap().to_model(&classes).unwrap();
        let members: Vec<Pod> = pods.iter().map(read).collect();
        let specs = specs(&gang_of_workload(object).unwrap(), None);
        assert_eq!((specs.len(), namespace(object)), (gangs, "ml"));
        for spec in &specs {
            assert_eq!((spec.id.kind, spec.size), (kind, size));
            let of_it = |pod: &&Pod| {
                let id = &pod.gang.as_ref().unwrap().id;
                (id.kind, &id.key) == (kind, &spec.id.key) && (id.uid.is_empty() || id.uid == spec.id.uid)
            };
            let of_it: Vec<&Pod> = members.iter().filter(of_it).collect();
            assert_eq!(of_it.len(), size as usize, "{spec:?}");
            for (role, count) in &spec.roles {
                let in_role = of_it.iter().filter(|pod| pod.gang.as_ref().unwrap().role == *role).count();
                assert_eq!(in_role, *count as usize, "{role}");
            }
        }
        assert_eq!(members.len(), gangs * size as usize);
    }

    #[test]
    fn pods_and_objects_of_a_manifest_tell_of_the_same_gangs() {
        let metadata = json!({"name": "x", "namespace": "ml"});
        let object =
            |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        let job = |parallelism: u32| json!({"spec": {"parallelism": parallelism, "completions": parallelism, "template": template()}});
        let replicated = json!([{"name": "driver", "template": job(1)}, {"name": "workers", "replicas": 2, "template": job(3)}]);
        check(&object("jobset.x-k8s.io/v1alpha2", "JobSet", json!({"replicatedJobs": replicated})), GangKind::JobSet, 1, 7);
        let workers = json!({"replicas": 2, "leaderWorkerTemplate": {"size": 4, "workerTemplate": template()}});
        check(&object("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", workers), GangKind::LeaderWorkerSet, 2, 4);
        let replicas = json!({"Master": {"template": template()}, "Worker": {"replicas": 3, "template": template()}});
        check(&object("kubeflow.org/v1", "PyTorchJob", json!({"pytorchReplicaSpecs": replicas})), GangKind::Kubeflow, 1, 4);
        let groups = json!([{"groupName": "gpu", "replicas": 2, "numOfHosts": 2, "template": template()}]);
        let cluster = json!({"headGroupSpec": {"template": template()}, "workerGroupSpecs": groups});
        check(&object("ray.io/v1", "RayCluster", cluster), GangKind::KubeRay, 1, 5);
        check(&object("batch/v1", "Job", job(4)["spec"].clone()), GangKind::Owner, 1, 4);
        let mut cron = object("batch/v1", "CronJob", json!({"jobTemplate": job(4)}));
        check(&cron, GangKind::Owner, 1, 4);
        cron["spec"]["jobTemplate"]["spec"]["completions"] = 9.into();
        assert_eq!(specs(&gang_of_workload(&cron).unwrap(), None)[0].size, 1);
    }
}
