//! The specs of deploy/examples/specs: short, and their renderings carry every value that matters of the manifests that
//! they stand for. The values stand here; where those manifests lie beside the project, none of theirs is forgotten.

use std::collections::BTreeSet;
use std::fs;

use gangplank::recipe;
use serde_json::Value;

use super::root;
use crate::support::manifests::seeds;

/// A spec, its manifest, and what became of the manifest's values.
struct Case {
    spec: &'static str,
    seed: &'static str,
    form: Option<&'static str>,
    /// Kind, JSON pointer, value as text.
    carried: &'static [(&'static str, &'static str, &'static str)],
    /// Values of the manifest that are not in the rendering, each with the reason.
    left: &'static [(&'static str, &'static str)],
}

const POD: &str = "/spec/template/spec/containers/0";
const NAMES: &str = "names of containers and volumes are the recipe's own";

/// A Pod becomes a Job with one.
const fn pod(
    spec: &'static str,
    seed: &'static str,
    carried: &'static [(&'static str, &'static str, &'static str)],
    left: &'static [(&'static str, &'static str)],
) -> Case {
    Case { spec, seed, form: None, carried, left }
}

const CASES: &[Case] = &[
    pod(
        "two-gpus",
        "01-gpu-pod",
        &[
            ("Job", "/metadata/name", "gpu-pod"),
            ("Job", "@/image", "tensorflow/tensorflow:latest-gpu"),
            ("Job", "@/resources/limits/nvidia.com~1gpu", "2"),
        ],
        &[("ml-container", NAMES)],
    ),
    pod(
        "tpu-v3",
        "02-tpu-pod",
        &[
            ("Job", "/metadata/name", "tpu-pod"),
            ("Job", "@/image", "tensorflow/tensorflow:latest-tpu"),
            ("Job", "@/resources/limits/cloud-tpus.google.com~1v3", "8"),
        ],
        &[("ml-container", NAMES)],
    ),
    pod(
        "train-tensorflow",
        "03-tensorflow-training",
        &[
            ("Job", "@/image", "tensorflow/tensorflow:2.9.0-gpu"),
            ("Job", "@/command/2", "--epochs=100"),
            ("Job", "@/command/3", "--batch-size=64"),
            ("Job", "@/resources/limits/nvidia.com~1gpu", "4"),
            ("Job", "@/volumeMounts/0/mountPath", "/data"),
            ("Job", "@/volumeMounts/1/mountPath", "/output"),
            ("Job", "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName", "training-data-pvc"),
            ("Job", "/spec/template/spec/volumes/1/persistentVolumeClaim/claimName", "model-output-pvc"),
        ],
        &[("tensorflow", NAMES), ("dataset", NAMES), ("model-output", NAMES)],
    ),
    pod(
        "train-pytorch",
        "04-pytorch-training",
        &[
            ("Job", "@/image", "pytorch/pytorch:1.12.0-cuda11.3-cudnn8-runtime"),
            ("Job", "@/command/1", "/app/train.py"),
            ("Job", "@/resources/limits/nvidia.com~1gpu", "4"),
            ("Job", "@/env/NCCL_DEBUG", "INFO"),
            ("Job", "@/env/NCCL_SOCKET_IFNAME", "eth0"),
            ("Job", "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName", "training-data-pvc"),
            ("Job", "/spec/template/spec/volumes/1/persistentVolumeClaim/claimName", "model-output-pvc"),
        ],
        &[("pytorch", NAMES), ("dataset", NAMES), ("model-output", NAMES)],
    ),
    pod(
        "train-jax",
        "05-jax-training",
        &[
            ("Job", "@/image", "gcr.io/jax-project/jax:latest"),
            ("Job", "@/command/1", "/app/train_flax.py"),
            ("Job", "@/resources/limits/nvidia.com~1gpu", "4"),
            ("Job", "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName", "training-data-pvc"),
            ("Job", "/spec/template/spec/volumes/1/persistentVolumeClaim/claimName", "model-output-pvc"),
        ],
        &[("jax", NAMES), ("dataset", NAMES), ("model-output", NAMES)],
    ),
    pod(
        "train-four-workers",
        "06-distributed-training",
        &[
            ("Job", "/spec/parallelism", "4"),
            ("Job", "/spec/completions", "4"),
            ("Job", "/spec/completionMode", "Indexed"),
            ("Job", "@/image", "custom-ml-framework:latest"),
            ("Job", "@/env/WORLD_SIZE", "4"),
            ("Job", "@/env/RANK", "metadata.annotations['batch.kubernetes.io/job-completion-index']"),
            ("Job", "@/resources/limits/nvidia.com~1gpu", "1"),
        ],
        &[("trainer", NAMES), ("OnFailure", "a pod failure policy wants Never; the Job makes a new pod instead")],
    ),
    Case {
        spec: "pipeline",
        seed: "07-ml-pipeline-workflow",
        form: Some("argo"),
        carried: &[
            ("Workflow", "/spec/templates/0/dag/tasks/1/dependencies/0", "data-preprocessing"),
            ("Workflow", "/spec/templates/0/dag/tasks/3/dependencies/0", "model-evaluation"),
            ("Workflow", "/spec/templates/1/container/image", "data-preprocessing:latest"),
            ("Workflow", "/spec/templates/1/container/volumeMounts/0/mountPath", "/data"),
            ("Workflow", "/spec/templates/2/container/resources/limits/nvidia.com~1gpu", "2"),
            ("Workflow", "/spec/templates/4/container/command/1", "/app/deploy.py"),
        ],
        left: &[
            ("ml-pipeline-", "a spec has a name, so that it can be applied again"),
            ("data", "the volume of the first step is not defined there"),
        ],
    },
    pod(
        "mlflow-server",
        "08-mlflow",
        &[
            ("Deployment", "/metadata/name", "mlflow-tracking"),
            ("Deployment", "/spec/replicas", "1"),
            ("Deployment", "/spec/template/metadata/labels/app", "mlflow"),
            ("Deployment", "@/image", "mlflow/mlflow:latest"),
            ("Deployment", "@/ports/0/containerPort", "5000"),
            ("Deployment", "@/env/MLFLOW_S3_ENDPOINT_URL", "http://minio-service:9000"),
            ("Deployment", "@/env/AWS_ACCESS_KEY_ID", "mlflow-s3-credentials/accessKey"),
            ("Deployment", "@/env/AWS_SECRET_ACCESS_KEY", "mlflow-s3-credentials/secretKey"),
            ("Deployment", "@/env/MLFLOW_BACKEND_STORE_URI", "postgresql://mlflow:$(DATABASE_PASSWORD)@postgres-service:5432/mlflow"),
            ("Deployment", "@/env/MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://mlflow/artifacts"),
            ("Deployment", "@/command/2", "--host=0.0.0.0"),
        ],
        &[
            ("MLFLOW_TRACKING_URI", "that variable is for clients, whom it would send to the database; the server's own has the value"),
            ("postgresql://mlflow:mlflow@postgres-service:5432/mlflow", "the password comes from a Secret"),
            ("--backend-store-uri=postgresql://mlflow:mlflow@postgres-service:5432/mlflow", "a variable, which no list of processes shows"),
            ("--default-artifact-root=s3://mlflow/artifacts", "a variable beside the other one"),
        ],
    ),
    pod(
        "serve-tensorflow",
        "09-tensorflow-serving",
        &[
            ("Deployment", "/spec/replicas", "3"),
            ("Deployment", "/spec/template/metadata/labels/app", "tensorflow-serving"),
            ("Deployment", "@/image", "tensorflow/serving:latest"),
            ("Deployment", "@/ports/0/containerPort", "8501"),
            ("Deployment", "@/env/MODEL_NAME", "resnet"),
            ("Deployment", "@/volumeMounts/0/mountPath", "/models/resnet"),
            ("Deployment", "@/resources/limits/memory", "2Gi"),
            ("Deployment", "@/resources/limits/cpu", "1"),
            ("Deployment", "@/resources/limits/nvidia.com~1gpu", "1"),
            ("Deployment", "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName", "model-storage"),
            ("Service", "/spec/ports/0/port", "8501"),
            ("Service", "/spec/ports/0/targetPort", "8501"),
            ("Service", "/spec/type", "ClusterIP"),
        ],
        &[("model-volume", NAMES)],
    ),
    Case {
        spec: "serve-kserve",
        seed: "10-kserve-inferenceservice",
        form: Some("kserve"),
        carried: &[
            ("InferenceService", "/metadata/name", "bert-sentiment"),
            ("InferenceService", "/spec/predictor/model/modelFormat/name", "tensorflow"),
            ("InferenceService", "/spec/predictor/model/storageUri", "s3://models/bert-sentiment/model"),
            ("InferenceService", "/spec/predictor/model/resources/limits/memory", "2Gi"),
            ("InferenceService", "/spec/predictor/model/resources/limits/cpu", "1"),
            ("InferenceService", "/spec/predictor/model/resources/limits/nvidia.com~1gpu", "1"),
            ("InferenceService", "/spec/predictor/containerConcurrency", "10"),
            ("InferenceService", "/spec/transformer/containers/0/image", "gcr.io/project/bert-preprocessor:v1"),
            ("InferenceService", "/spec/transformer/containers/0/name", "bert-preprocessor"),
        ],
        left: &[],
    },
    pod(
        "autoscale-model-server",
        "11-model-server-hpa",
        &[
            ("HorizontalPodAutoscaler", "/spec/scaleTargetRef/name", "model-server"),
            ("HorizontalPodAutoscaler", "/spec/minReplicas", "2"),
            ("HorizontalPodAutoscaler", "/spec/maxReplicas", "10"),
            ("HorizontalPodAutoscaler", "/spec/metrics/0/resource/target/averageUtilization", "70"),
            ("HorizontalPodAutoscaler", "/spec/metrics/1/pods/metric/name", "inference_requests_per_second"),
            ("HorizontalPodAutoscaler", "/spec/metrics/1/pods/target/averageValue", "100"),
        ],
        &[("model-server-hpa", "everything of a spec has its name")],
    ),
    pod(
        "dataset-volumes",
        "12-dataset-pvcs",
        &[
            ("PersistentVolumeClaim", "/metadata/name", "ml-dataset-pvc"),
            ("PersistentVolumeClaim", "/spec/accessModes/0", "ReadWriteMany"),
            ("PersistentVolumeClaim", "/spec/resources/requests/storage", "500Gi"),
            ("PersistentVolumeClaim", "/spec/storageClassName", "fast-nfs"),
            ("PersistentVolumeClaim", "/spec/accessModes/0", "ReadOnlyMany"),
            ("PersistentVolumeClaim", "/spec/resources/requests/storage", "1Ti"),
            ("PersistentVolumeClaim", "/spec/storageClassName", "high-performance-ro"),
        ],
        &[],
    ),
    pod(
        "preprocess-in-parallel",
        "13-data-preprocessing",
        &[
            ("Job", "/spec/parallelism", "20"),
            ("Job", "/spec/completions", "100"),
            ("Job", "@/image", "data-processor:latest"),
            ("Job", "@/env/CHUNK_INDEX", "metadata.annotations['batch.kubernetes.io/job-completion-index']"),
            ("Job", "@/volumeMounts/0/mountPath", "/raw"),
            ("Job", "@/volumeMounts/1/mountPath", "/processed"),
            ("Job", "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName", "raw-dataset-pvc"),
            ("Job", "/spec/template/spec/volumes/1/persistentVolumeClaim/claimName", "processed-dataset-pvc"),
        ],
        &[("data-processor", NAMES), ("raw-data", NAMES), ("processed-data", NAMES), ("OnFailure", "a pod failure policy wants Never")],
    ),
    pod(
        "two-containers-one-gpu",
        "14-gpu-shared-pod",
        &[
            ("Job", "/metadata/annotations/nvidia.com~1mps-capable", "true"),
            ("Job", "@/image", "tensorflow/tensorflow:latest-gpu"),
            ("Job", "@/resources/limits/gangplank.dev~1gpu-milli", "500"),
            ("Job", "/spec/template/spec/containers/1/image", "pytorch/pytorch:latest"),
            ("Job", "/spec/template/spec/containers/1/resources/limits/gangplank.dev~1gpu-milli", "500"),
        ],
        &[("ml-container-1", NAMES), ("0.5", "in thousandths, as the API server takes it without Gangplank's admission, too")],
    ),
    pod(
        "gpus-of-named-products",
        "15-gpu-training-pod-affinity",
        &[
            (
                "Job",
                "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0/key",
                "nvidia.com/gpu.product",
            ),
            (
                "Job",
                "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0/operator",
                "In",
            ),
            (
                "Job",
                "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0/values/0",
                "Tesla-V100",
            ),
            (
                "Job",
                "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0/values/1",
                "A100",
            ),
            ("Job", "@/image", "ml-training:latest"),
            ("Job", "@/resources/limits/nvidia.com~1gpu", "4"),
        ],
        &[("ml-trainer", NAMES)],
    ),
    pod(
        "team-quota",
        "16-ml-team-quota",
        &[
            ("ResourceQuota", "/metadata/namespace", "ml-team-a"),
            ("ResourceQuota", "/spec/hard/requests.cpu", "100"),
            ("ResourceQuota", "/spec/hard/requests.memory", "200Gi"),
            ("ResourceQuota", "/spec/hard/limits.cpu", "200"),
            ("ResourceQuota", "/spec/hard/limits.memory", "500Gi"),
            ("ResourceQuota", "/spec/hard/requests.nvidia.com~1gpu", "20"),
        ],
        &[],
    ),
    pod(
        "model-server-firewall",
        "17-model-server-networkpolicy",
        &[
            ("NetworkPolicy", "/spec/policyTypes/0", "Ingress"),
            ("NetworkPolicy", "/spec/ingress/0/from/0/namespaceSelector/matchLabels/purpose", "application"),
            ("NetworkPolicy", "/spec/ingress/0/from/1/podSelector/matchLabels/role", "frontend"),
            ("NetworkPolicy", "/spec/ingress/0/ports/0/protocol", "TCP"),
            ("NetworkPolicy", "/spec/ingress/0/ports/0/port", "8501"),
            ("Deployment", "/spec/template/metadata/labels/app", "model-server"),
        ],
        &[("ml-model-server-policy", "everything of a spec has its name")],
    ),
    pod(
        "monitor-model-server",
        "18-model-serving-monitoring",
        &[
            ("ServiceMonitor", "/spec/endpoints/0/port", "metrics"),
            ("ServiceMonitor", "/spec/endpoints/0/interval", "15s"),
            ("ServiceMonitor", "/spec/endpoints/0/path", "/metrics"),
            ("Service", "/spec/ports/1/name", "metrics"),
            ("PrometheusRule", "/spec/groups/0/rules/1/alert", "HighModelLatency"),
            (
                "PrometheusRule",
                "/spec/groups/0/rules/1/expr",
                r#"histogram_quantile(0.95, sum(rate(model_inference_latency_seconds_bucket{job="model-server"}[5m])) by (le, model)) > 0.1"#,
            ),
            ("PrometheusRule", "/spec/groups/0/rules/1/for", "5m"),
            ("PrometheusRule", "/spec/groups/0/rules/1/labels/severity", "warning"),
        ],
        &[
            ("model-serving-monitor", "everything of a spec has its name"),
            ("ml-serving-alerts", "everything of a spec has its name"),
            ("ml.serving.alerts", "everything of a spec has its name"),
            (
                "histogram_quantile(0.95, sum(rate(model_inference_latency_seconds_bucket[5m])) by (le, model)) > 0.1",
                "of this server, not of all",
            ),
            ("High inference latency for model", "a text of our own"),
            ("95th percentile latency for model {{ $labels.model }} is above 100ms threshold", "a text of our own"),
        ],
    ),
    pod(
        "train-sixteen-by-eight",
        "19-distributed-training-16x8",
        &[
            ("ConfigMap", "/data/config.yaml/training/learning_rate", "0.001"),
            ("ConfigMap", "/data/config.yaml/training/batch_size", "256"),
            ("ConfigMap", "/data/config.yaml/training/epochs", "100"),
            ("ConfigMap", "/data/config.yaml/distributed/strategy", "data_parallel"),
            ("ConfigMap", "/data/config.yaml/distributed/nodes", "16"),
            ("ConfigMap", "/data/config.yaml/distributed/gpus_per_node", "8"),
            ("Job", "/spec/parallelism", "16"),
            ("Job", "/spec/completions", "16"),
            ("Job", "/spec/backoffLimitPerIndex", "4"),
            (
                "Job",
                "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/topologyKey",
                "kubernetes.io/hostname",
            ),
            (
                "Job",
                "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector/matchExpressions/0/values/0",
                "distributed-training-job",
            ),
            ("Job", "@/resources/limits/nvidia.com~1gpu", "8"),
            ("Job", "@/resources/limits/memory", "128Gi"),
            ("Job", "@/resources/limits/cpu", "32"),
            ("Job", "@/volumeMounts/0/mountPath", "/data"),
            ("Job", "@/volumeMounts/1/mountPath", "/output"),
            ("Job", "@/volumeMounts/2/mountPath", "/etc/config"),
            ("Job", "@/volumeMounts/3/mountPath", "/dev/shm"),
            ("Job", "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName", "training-dataset"),
            ("Job", "/spec/template/spec/volumes/1/persistentVolumeClaim/claimName", "model-checkpoint-store"),
            ("Job", "/spec/template/spec/volumes/3/emptyDir/medium", "Memory"),
            ("Job", "/spec/template/spec/volumes/3/emptyDir/sizeLimit", "16Gi"),
        ],
        &[
            ("training-config", NAMES),
            ("distributed-trainer", NAMES),
            ("dataset", NAMES),
            ("model-output", NAMES),
            ("job-name", "the same label by its present name: batch.kubernetes.io/job-name"),
            ("OnFailure", "a pod failure policy wants Never"),
        ],
    ),
    Case {
        spec: "canary-knative",
        seed: "20-knative-canary",
        form: Some("knative"),
        carried: &[
            ("Service", "/metadata/name", "ml-inference"),
            ("Service", "/spec/template/metadata/annotations/autoscaling.knative.dev~1min-scale", "2"),
            ("Service", "/spec/template/metadata/annotations/autoscaling.knative.dev~1max-scale", "20"),
            ("Service", "@/image", "gcr.io/project/model-server:v2"),
            ("Service", "@/resources/limits/nvidia.com~1gpu", "1"),
            ("Service", "/spec/traffic/0/tag", "current"),
            ("Service", "/spec/traffic/0/revisionName", "ml-inference-v1"),
            ("Service", "/spec/traffic/0/percent", "90"),
            ("Service", "/spec/traffic/1/tag", "candidate"),
            ("Service", "/spec/traffic/1/revisionName", "ml-inference-v2"),
            ("Service", "/spec/traffic/1/percent", "10"),
        ],
        left: &[],
    },
];

/// Specs that stand for no manifest, each with its form.
const OWN: &[(&str, Option<&str>)] = &[("serve-with-tls", None)];

/// The objects of a spec, texts of files read as what they are.
pub(super) fn rendered(name: &str, form: Option<&str>) -> Vec<Value> {
    let path = root().join(format!("deploy/examples/specs/{name}.yaml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let specs = recipe::read(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    specs.iter().flat_map(|spec| spec.render(form).unwrap_or_else(|error| panic!("{name}: {error}")).objects).collect()
}

/// Every spec with its form, for most the one in which it stands for its manifest.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    CASES.iter().map(|case| (case.spec, case.form)).chain(OWN.iter().copied())
}

fn opened(mut object: Value) -> Value {
    if object["kind"] == "ConfigMap" {
        for file in object["data"].as_object_mut().into_iter().flat_map(|files| files.values_mut()) {
            if let Some(read) = file.as_str().and_then(|text| serde_saphyr::from_str::<Value>(text).ok()).filter(Value::is_object) {
                *file = read;
            }
        }
    }
    object
}

/// What stands at a place: a value, a variable by its name, or a reference to a Secret's key.
fn at(object: &Value, pointer: &str) -> Option<String> {
    let pointer = pointer.strip_prefix('@').map_or_else(|| pointer.to_owned(), |rest| format!("{POD}{rest}"));
    if let Some((container, variable)) = pointer.split_once("/env/") {
        let entries = object.pointer(&format!("{container}/env"))?.as_array()?;
        let entry = entries.iter().find(|entry| entry["name"] == variable)?;
        let from = &entry["valueFrom"];
        let secret = || Some(format!("{}/{}", from["secretKeyRef"]["name"].as_str()?, from["secretKeyRef"]["key"].as_str()?));
        return plain(&entry["value"]).or_else(|| plain(&from["fieldRef"]["fieldPath"])).or_else(secret);
    }
    plain(object.pointer(&pointer)?)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[test]
fn every_example_spec_is_short_and_renders_the_values_that_matter() {
    let mut files: Vec<_> = fs::read_dir(root().join("deploy/examples/specs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let names: BTreeSet<&str> = files.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, all().map(|(name, _)| name).collect());
    for path in files {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 15, "{}: {lines} lines", path.display());
    }
    for case in CASES {
        let objects: Vec<Value> = rendered(case.spec, case.form).into_iter().map(opened).collect();
        for (kind, pointer, value) in case.carried {
            let found: Vec<_> = objects.iter().filter(|object| object["kind"] == *kind).map(|object| at(object, pointer)).collect();
            assert!(found.iter().any(|is| is.as_deref() == Some(value)), "{}: {kind} {pointer} is {found:?}, not {value}", case.spec);
        }
    }
}

/// Nothing of a manifest is forgotten: what its rendering does not say stands in `left`, with the reason.
#[test]
fn every_value_of_the_manifests_is_in_the_renderings_or_left_out_for_a_reason() {
    fn leaves(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
            Value::Object(fields) => fields.values().for_each(|item| leaves(item, into)),
            other => into.extend(plain(other)),
        }
    }
    let Some(folder) = seeds() else { return };
    for case in CASES {
        let text = fs::read_to_string(folder.join(format!("{}.yaml", case.seed))).unwrap();
        let seeds: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let (mut wanted, mut there) = (BTreeSet::new(), BTreeSet::new());
        for mut object in seeds.into_iter().map(opened) {
            // A Pod becomes a Job, and versions are those that are served today.
            for field in ["apiVersion", "kind"] {
                object[field] = Value::Null;
            }
            leaves(&object, &mut wanted);
        }
        rendered(case.spec, case.form).into_iter().map(opened).for_each(|object| leaves(&object, &mut there));
        let left: BTreeSet<String> = case.left.iter().map(|(value, _)| (*value).to_owned()).collect();
        let missing: BTreeSet<String> = wanted.difference(&there).cloned().collect();
        assert_eq!(missing, left, "{}", case.spec);
    }
}
