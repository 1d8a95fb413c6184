//! `no-shared-memory`: several devices, or workers of a data loader, and 64 MiB to talk through.

use serde_json::json;

use super::{Edit, Found, Input, Level, Rule, gpus_milli};
use crate::model::Quantity;

pub(super) const RULE: Rule = Rule {
    id: "no-shared-memory",
    finds: "A container with two GPUs or more, or one with a GPU that runs PyTorch or vLLM, without a volume on /dev/shm.",
    why: "Containers get 64 MiB of /dev/shm. NCCL and the workers of a data loader pass more than that through it, and die with a bus error, often after hours.",
    fix: "A volume `emptyDir: {medium: Memory}` on /dev/shm; it counts against the container's memory. `--fix` writes 16Gi, or half of the memory limit if that is less.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        for container in pod.containers() {
            let image = container.text_at("image").unwrap_or_default();
            let milli = gpus_milli(&container);
            let talks = ["pytorch", "torch", "vllm"].iter().any(|word| image.contains(word));
            if milli < 1000 || (milli < 2000 && !talks) || pod.spec.get("hostIPC").is_some() {
                continue;
            }
            // A TPU's runtime does not talk through it.
            let tpu = |name: &str| name.contains("tpu");
            let chips = container.go("resources.limits").is_some_and(|limits| limits.texts().keys().any(|name| tpu(name)));
            if chips || container.all("volumeMounts").iter().any(|mount| mount.text_at("mountPath") == Some("/dev/shm")) {
                continue;
            }
            let size = size(container.text_at("resources.limits.memory"));
            let field = container.get("image").unwrap_or_else(|| container.clone());
            let text = input.text(&container);
            let mut edits = Vec::new();
            // A container of another kind of object may have no room for volumes: then it is yours to write.
            let holder = if pod.plain || pod.spec.get("container").is_some() { Some(&pod.spec) } else { None };
            if let Some(holder) = holder {
                edits.extend(Edit::item_of(text, container.node, "volumeMounts", &json!({"name": "shm", "mountPath": "/dev/shm"})));
                let there = holder.all("volumes").iter().any(|volume| volume.text_at("name") == Some("shm"));
                let volume = json!({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}});
                edits.extend((!there).then(|| Edit::item_of(text, holder.node, "volumes", &volume)).flatten());
            }
            let problem = format!("{} has 64 MiB of /dev/shm", container.text_at("name").unwrap_or("the container"));
            let fix = format!("mount emptyDir {{medium: Memory, sizeLimit: {size}}} on /dev/shm");
            found.push(Found::new(Level::Warning, &field, problem, fix).edits(edits));
        }
    }
    found
}

fn size(memory: Option<&str>) -> String {
    let bytes = memory.and_then(|memory| Quantity::parse(memory).ok()).and_then(Quantity::whole);
    let half_gib = bytes.map_or(16, |bytes| bytes >> 31);
    if half_gib == 0 { "512Mi".to_owned() } else { format!("{}Gi", half_gib.min(16)) }
}
