//! TensorFlow Serving: a folder of numbered versions, REST on 8501, gRPC on 8500.

use super::{Model, Runtime, Speaks, Start, words};

pub(super) const TENSORFLOW_SERVING: Runtime = Runtime {
    name: "tensorflow-serving",
    about: "SavedModels over REST and gRPC",
    image: Some("tensorflow/serving:2.19.1-gpu"),
    http: Some(8501),
    more_ports: &[("grpc", 8500)],
    metrics: ("http", "/monitoring/prometheus/metrics"),
    latency: None,
    needs_model: true,
    kserve_format: Some("tensorflow"),
    mount: |name| Some(format!("/models/{name}")),
    ready: |name| Some(format!("/v1/models/{name}")),
    start,
    // It has no option for the address that REST listens on.
    tls: Speaks {
        itself: Err("speaks TLS by gRPC alone, with a file of its own that has the key in it; REST, health and metrics are plain"),
        alone: &[],
    },
};

fn start(model: Option<&Model>, name: &str) -> Start {
    let base = match model {
        Some(Model::Bucket(address)) => address.clone(),
        _ => format!("/models/{name}"),
    };
    let mut command = words(&["tensorflow_model_server", "--port=8500", "--rest_api_port=8501"]);
    command.extend([format!("--model_name={name}"), format!("--model_base_path={base}")]);
    // The image's own script reads it; so do scripts of people.
    Start { command, env: vec![("MODEL_NAME", name.to_owned())] }
}
