//! TensorFlow: `MultiWorkerMirroredStrategy` reads TF_CONFIG, a JSON text with every worker's address and the worker's own
//! place. A worker alone has none: one with a cluster of one would wait for a server that nobody needs.

use super::{Framework, Group, any};
use crate::recipe::pod::Variable;

pub(super) const TENSORFLOW: Framework = Framework {
    name: "tensorflow",
    about: "MultiWorkerMirroredStrategy, by TF_CONFIG",
    image: "tensorflow/tensorflow:2.20.0-gpu",
    command: &["python", "train.py"],
    elastic: false,
    ports: &[("grpc", PORT)],
    own: &["TF_CONFIG"],
    environment,
    check: any,
    launch: None,
};

fn environment(group: &Group) -> Vec<Variable> {
    if group.is_alone() {
        return Vec::new();
    }
    let workers = serde_json::json!(group.hosts(Some(PORT)));
    // kubelet puts the rank in: it is a number, as TensorFlow wants it.
    let config = format!(r#"{{"cluster":{{"worker":{workers}}},"task":{{"type":"worker","index":$(RANK)}}}}"#);
    vec![Variable::index("RANK"), Variable::text("TF_CONFIG", &config)]
}

const PORT: u16 = 2222;
