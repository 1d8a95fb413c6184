//! PyTorch: `torch.distributed` reads MASTER_ADDR, MASTER_PORT, WORLD_SIZE and RANK (its `env://` rendezvous); `torchrun`
//! reads its own options from PET_*, starts a process a device, and gives each its own RANK.

use super::{Framework, Group, any};
use crate::recipe::pod::Variable;

pub(super) const PYTORCH: Framework = Framework {
    name: "pytorch",
    about: "torch.distributed, by torchrun or one process a worker",
    image: "pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime",
    command: &["torchrun", "train.py"],
    elastic: true,
    ports: &[("rendezvous", PORT)],
    own: &["MASTER_ADDR", "WORLD_SIZE", "RANK", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_NNODES"],
    environment,
    check: any,
    launch: None,
};

fn environment(group: &Group) -> Vec<Variable> {
    let first = group.first();
    let mut all = vec![
        Variable::text("MASTER_ADDR", &first),
        Variable::text("MASTER_PORT", &PORT),
        Variable::text("WORLD_SIZE", &group.workers),
        group.rank("RANK"),
        Variable::text("PET_NPROC_PER_NODE", &group.devices.max(1)),
    ];
    if group.workers_min == group.workers {
        all.extend([
            Variable::text("PET_NNODES", &group.workers),
            group.rank("PET_NODE_RANK"),
            Variable::text("PET_MASTER_ADDR", &first),
            Variable::text("PET_MASTER_PORT", &PORT),
        ]);
    } else {
        // The first worker keeps the list of who is there; ranks are dealt anew whenever it changes.
        all.extend([
            Variable::text("PET_NNODES", &format!("{}:{}", group.workers_min, group.workers)),
            Variable::text("PET_RDZV_BACKEND", "c10d"),
            Variable::text("PET_RDZV_ENDPOINT", &format!("{first}:{PORT}")),
            Variable::text("PET_RDZV_ID", &group.name),
        ]);
    }
    all
}

const PORT: u16 = 29500;
