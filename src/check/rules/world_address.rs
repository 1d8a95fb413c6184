//! `world-without-address`: workers that have a rank and nobody to tell it.

use super::{At, Found, Input, Level, Rule, variable, words};

pub(super) const RULE: Rule = Rule {
    id: "world-without-address",
    finds: "WORLD_SIZE and RANK without MASTER_ADDR, in a Job of several workers that names no rendezvous in its command.",
    why: "torch.distributed reads all of them. Without an address each worker fails at once, or listens on itself and waits for the others.",
    fix: "A headless Service, `subdomain` in the pod template, and MASTER_ADDR that names the first worker: JOB-0.SUBDOMAIN. `gangplank-provision render` of a TrainingJob writes all three. A note, for the program may find its address by itself.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        if pod.group().is_none() {
            continue;
        }
        for container in pod.containers() {
            let (Some(size), Some(_)) = (variable(&container, "WORLD_SIZE"), variable(&container, "RANK")) else { continue };
            let known = ["MASTER_ADDR", "PET_MASTER_ADDR", "PET_RDZV_ENDPOINT"].iter().any(|name| variable(&container, name).is_some());
            let told = ["rdzv", "master", "init_method", "init-method", "coordinator"];
            let told = |word: &str| told.iter().any(|part| word.contains(part));
            // Variables from a ConfigMap may have it.
            let hidden = !container.all("envFrom").is_empty();
            if known || hidden || words(&container).iter().filter_map(At::text).any(told) {
                continue;
            }
            let problem = "workers have a rank and a world, but no address of the first worker";
            let fix = "add a headless Service, subdomain, and MASTER_ADDR, or render a TrainingJob";
            found.push(Found::new(Level::Note, &size, problem, fix));
        }
    }
    found
}
