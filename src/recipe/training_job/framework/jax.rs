//! JAX: `jax.distributed.initialize()` reads JAX_COORDINATOR_ADDRESS; how many processes there are and which one this is,
//! stand beside it, for the call's arguments `num_processes` and `process_id`. On TPUs it finds all that by itself.

use super::{Framework, Group, any};
use crate::recipe::pod::Variable;

pub(super) const JAX: Framework = Framework {
    name: "jax",
    about: "jax.distributed, one process a worker",
    image: "ghcr.io/nvidia/jax:jax",
    command: &["python", "train.py"],
    elastic: false,
    ports: &[("coordinator", PORT)],
    own: &["JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"],
    environment,
    check: any,
    launch: None,
};

fn environment(group: &Group) -> Vec<Variable> {
    if group.is_alone() {
        return Vec::new();
    }
    vec![
        Variable::text("JAX_COORDINATOR_ADDRESS", &format!("{}:{PORT}", group.first())),
        Variable::text("JAX_NUM_PROCESSES", &group.workers),
        Variable::index("JAX_PROCESS_ID"),
    ]
}

const PORT: u16 = 1234;
