//! An image that serves by itself. It is told where its model is, and asked for its health where the spec says so.

use super::{Itself, Model, Runtime, Speaks, Start};

pub(super) const PLAIN: Runtime = Runtime {
    name: "plain",
    about: "an image that does it all by itself",
    image: None,
    http: None,
    more_ports: &[],
    metrics: ("http", "/metrics"),
    latency: None,
    needs_model: false,
    kserve_format: None,
    mount: |name| Some(format!("/models/{name}")),
    ready: |_| None,
    start,
    tls: Speaks {
        itself: Ok(Itself {
            args: &[],
            env: &[("TLS_CERT_FILE", "/etc/gangplank/tls/tls.crt"), ("TLS_KEY_FILE", "/etc/gangplank/tls/tls.key")],
            note: Some(
                "the program has to speak TLS with the files that TLS_CERT_FILE and TLS_KEY_FILE name, and read them anew when they are renewed; `tls: {proxy: true}` does it for one that does not",
            ),
        }),
        alone: &[],
    },
};

fn start(model: Option<&Model>, name: &str) -> Start {
    let place = match model {
        None => return Start::default(),
        Some(Model::Claim { .. }) => format!("/models/{name}"),
        Some(Model::Bucket(address)) => address.clone(),
        Some(Model::Hub(hub)) => format!("hf://{hub}"),
    };
    Start { command: Vec::new(), env: vec![("MODEL_NAME", name.to_owned()), ("MODEL_URI", place)] }
}
