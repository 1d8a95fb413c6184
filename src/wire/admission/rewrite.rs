//! What is changed about pods and templates; the same three steps, in the same order, as `deploy/admission/mutate-*.yaml`.

use serde_json::{Value, json};

use super::amounts::{self, Amount};
use super::template::{self, Edited, LISTS};
use super::{Asked, Rules};
use crate::model::{SHARE_MEMORY_MIB, SHARE_MILLI};
use crate::wire::annotations;

/// The resource whose fractions become shares.
const SHARED: &str = "nvidia.com/gpu";

/// The request's object with everything done to it, or nothing for a kind without pods.
pub(super) fn rewrite(asked: &Asked<'_>, rules: &Rules) -> Option<Edited> {
    template::spec(asked.kind, asked.object)?;
    let mut edited = Edited::new(asked.object);
    fractions(asked, &mut edited);
    if asked.kind == "Pod" && asked.is_create() {
        scheduler_name(&mut edited, rules);
        gate(&mut edited, rules);
        environment(&mut edited);
    }
    Some(edited)
}

/// `nvidia.com/gpu: 0.5` becomes `gangplank.dev/gpu-milli: 500`, in limits and requests.
///
/// On UPDATE both may stand there: `kubectl apply` merges the manifest's line into an object that holds what the line became before. The
/// manifest is the newer word, so a fraction replaces the share, and a whole number that was not there drops a share that has not
/// changed. On CREATE two different words are the user's own, and are left to be refused.
fn fractions(asked: &Asked<'_>, edited: &mut Edited) {
    let Some((path, spec)) = template::path(asked.kind).zip(template::spec(asked.kind, asked.object)) else { return };
    for (list, _) in LISTS {
        for (i, container) in (0_u32..).zip(template::containers(spec, list)) {
            for map in ["limits", "requests"] {
                let Some(amounts) = template::amounts(container, map) else { continue };
                let Some(amount) = amounts.get(SHARED).map(|amount| Amount::read(&template::text(amount))) else { continue };
                let beside = amounts.get(SHARE_MILLI).map(|share| Amount::read(&template::text(share)));
                let at = format!("{path}/spec/{list}/{i}/resources/{map}");
                if let Amount::Fraction(milli) = amount {
                    if !asked.is_create() || beside.is_none_or(|share| share == Amount::Whole(milli)) {
                        edited.set(&at, SHARE_MILLI, &json!(milli.to_string()));
                        edited.remove(&at, SHARED);
                    }
                } else if beside.is_some() && beside == share_before(asked, list, template::name(container), map) {
                    edited.remove(&at, SHARE_MILLI);
                }
            }
        }
    }
}

/// The share that stood alone in this map of this container before an update.
fn share_before(asked: &Asked<'_>, list: &str, container: &str, map: &str) -> Option<Amount> {
    let spec = template::spec(asked.kind, asked.old_object)?;
    let before = template::containers(spec, list).iter().find(|before| template::name(before) == container)?;
    let amounts = template::amounts(before, map).filter(|amounts| !amounts.contains_key(SHARED))?;
    amounts.get(SHARE_MILLI).map(|share| Amount::read(&template::text(share)))
}

fn scheduler_name(edited: &mut Edited, rules: &Rules) {
    let spec = &edited.object["spec"];
    let is_default = spec.get("schedulerName").is_none_or(|name| name == "default-scheduler" || name == "");
    if is_default && amounts::asks_for_accelerators(spec, rules) {
        edited.set("/spec", "schedulerName", &json!(rules.scheduler));
    }
}

/// The gate that holds a pod of ours until it is planned. It can only be set here: the API server takes none later.
fn gate(edited: &mut Edited, rules: &Rules) {
    let spec = &edited.object["spec"];
    let ours = spec.get("schedulerName").is_some_and(|name| name == rules.scheduler.as_str());
    let placed = spec.get("nodeName").is_some_and(|node| node != "");
    let there = spec["schedulingGates"].as_array().is_some_and(|gates| gates.iter().any(|gate| gate["name"] == annotations::GATE));
    if ours && !placed && !there && amounts::asks_for_accelerators(spec, rules) {
        edited.append("/spec", "schedulingGates", &json!({"name": annotations::GATE}));
    }
}

/// Containers with a share read what is written when the pod is bound. Of two entries with one name the later one counts, so it is
/// looked for in the last: a tenant who writes ours and then his own below it gains nothing.
fn environment(edited: &mut Edited) {
    let mut missing = Vec::new();
    for (list, role) in LISTS {
        for (i, container) in (0_u32..).zip(template::containers(&edited.object["spec"], list)) {
            let limit = |name: &str| template::amounts(container, "limits").and_then(|limits| limits.get(name)).map(template::text);
            let is_asked = |name: &str| limit(name).is_some_and(|amount| Amount::read(&amount) != Amount::Whole(0));
            if !is_asked(SHARE_MILLI) {
                continue;
            }
            let memory = is_asked(SHARE_MEMORY_MIB).then_some("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT");
            for name in ["NVIDIA_VISIBLE_DEVICES", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"].into_iter().chain(memory) {
                let field = format!("metadata.annotations['{}']", annotations::env_key(role, i, name));
                if last_field_of(container, name) != Some(&field) {
                    let entry = json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}});
                    missing.push((format!("/spec/{list}/{i}"), entry));
                }
            }
        }
    }
    for (container, entry) in missing {
        edited.append(&container, "env", &entry);
    }
}

/// The field that the last entry of this name reads.
fn last_field_of<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let entry = container.get("env")?.as_array()?.iter().rfind(|entry| entry["name"] == name)?;
    entry.pointer("/valueFrom/fieldRef/fieldPath")?.as_str()
}
