//! vLLM: an OpenAI-compatible API on 8000, metrics beside it.

use super::{Itself, Model, Runtime, Speaks, Start, words};

pub(super) const VLLM: Runtime = Runtime {
    name: "vllm",
    about: "language models behind an OpenAI-compatible API",
    image: Some("vllm/vllm-openai:v0.11.0"),
    http: Some(8000),
    more_ports: &[],
    metrics: ("http", "/metrics"),
    latency: Some("vllm:e2e_request_latency_seconds"),
    needs_model: true,
    kserve_format: Some("huggingface"),
    mount: |name| Some(format!("/models/{name}")),
    ready: |_| Some("/health".to_owned()),
    start,
    tls: Speaks {
        itself: Ok(Itself {
            args: &[
                "--ssl-certfile=/etc/gangplank/tls/tls.crt",
                "--ssl-keyfile=/etc/gangplank/tls/tls.key",
                // What is renewed is read anew.
                "--enable-ssl-refresh",
            ],
            env: &[],
            note: None,
        }),
        alone: &["--host=127.0.0.1"],
    },
};

fn start(model: Option<&Model>, name: &str) -> Start {
    let source = match model {
        Some(Model::Hub(hub)) => hub.clone(),
        Some(Model::Bucket(address)) => address.clone(),
        _ => format!("/models/{name}"),
    };
    let mut command = words(&["vllm", "serve"]);
    command.extend([source, format!("--served-model-name={name}"), "--port=8000".to_owned()]);
    if matches!(model, Some(Model::Bucket(_))) {
        command.push("--load-format=runai_streamer".to_owned());
    }
    Start { command, env: Vec::new() }
}
