//! No framework: a worker learns which one it is, how many there are, and where the first one is. The rest is the program's.

use super::{Framework, Group, any};
use crate::recipe::pod::Variable;

pub(super) const PLAIN: Framework = Framework {
    name: "plain",
    about: "any program; RANK and WORLD_SIZE say which worker it is",
    image: "ghcr.io/example/train:1.0",
    command: &["/app/train"],
    elastic: true,
    ports: &[],
    own: &["RANK", "WORLD_SIZE"],
    environment,
    check: any,
    launch: None,
};

fn environment(group: &Group) -> Vec<Variable> {
    vec![Variable::text("WORLD_SIZE", &group.workers), group.rank("RANK"), Variable::text("MASTER_ADDR", &group.first())]
}
