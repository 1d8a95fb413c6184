//! `world-size`: workers wait for more than there are, or leave some out.

use super::{Edit, Found, Input, Level, Rule, variable};

pub(super) const RULE: Rule = Rule {
    id: "world-size",
    finds: "WORLD_SIZE that is neither the number of workers nor that of their devices.",
    why: "The group forms when WORLD_SIZE members have come. With more than there are it waits until its time is over; with fewer, those who come last are refused.",
    fix: "WORLD_SIZE is `completions`, or `completions` times the devices of a worker where each device is a member. `--fix` writes the first.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        let Some(job) = pod.job().filter(|job| job.parallelism >= job.completions) else { continue };
        for container in pod.containers() {
            let Some(size) = variable(&container, "WORLD_SIZE").and_then(|variable| variable.get("value")) else { continue };
            let Some(written) = size.number() else { continue };
            let devices = super::gpus_milli(&container).div_ceil(1000).max(1);
            if written == job.completions || written == job.completions.saturating_mul(devices) {
                continue;
            }
            let right = job.completions.to_string();
            let edit = Edit::replace(input.text(&size), size.node, &right.clone().into());
            let problem = format!("WORLD_SIZE is {written}, and the Job has {right} workers: the group never forms");
            found.push(Found::new(Level::Error, &size, problem, format!("write \"{right}\"")).edits([edit]));
        }
    }
    found
}
