//! NVIDIA Triton: a repository of models, HTTP on 8000, gRPC on 8001, metrics on 8002.

use super::{Model, Runtime, Speaks, Start, words};

pub(super) const TRITON: Runtime = Runtime {
    name: "triton",
    about: "a repository of models of many frameworks",
    image: Some("nvcr.io/nvidia/tritonserver:25.10-py3"),
    http: Some(8000),
    more_ports: &[("grpc", 8001), ("metrics", 8002)],
    metrics: ("metrics", "/metrics"),
    latency: None,
    needs_model: true,
    kserve_format: Some("triton"),
    mount: |_| Some("/models".to_owned()),
    ready: |_| Some("/v2/health/ready".to_owned()),
    start,
    tls: Speaks {
        itself: Err("speaks TLS by gRPC alone, with a certificate that it reads once; HTTP, health and metrics are plain"),
        alone: &["--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"],
    },
};

fn start(model: Option<&Model>, _: &str) -> Start {
    let repository = match model {
        Some(Model::Bucket(address)) => address.clone(),
        _ => "/models".to_owned(),
    };
    let mut command = words(&["tritonserver", "--exit-on-error=false", "--strict-readiness=true"]);
    command.push(format!("--model-repository={repository}"));
    Start { command, env: Vec::new() }
}
