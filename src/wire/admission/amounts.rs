//! Amounts that no node can ever grant, and what to write instead.
//!
//! Texts and limits are those of `deploy/admission/validate-amounts.yaml`, plus what the API server itself would say later and more
//! tersely: negative amounts, and fractions of what cannot be shared.

use serde_json::Value;

use super::{Asked, Rules, template};
use crate::model::{Quantity, QuantityError, SHARE_MEMORY_MIB, SHARE_MILLI};

/// No node has more devices of a kind; whoever asks for more meant something else.
const DEVICES_MAX: u64 = 999;
/// One GPU.
const SHARE_MAX: u64 = 1000;
/// Ten tebibytes, more than any GPU has.
const MEMORY_MIB_MAX: u64 = 9_999_999;

/// An amount as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// A whole number.
    Whole(u64),
    /// Thousandths, no whole number.
    Fraction(u64),
    /// Below zero.
    Negative,
    /// Beyond what anybody could mean, or no amount at all.
    Absurd,
}

impl Amount {
    pub(super) fn read(text: &str) -> Self {
        match Quantity::parse(text) {
            Err(QuantityError::Negative) => Self::Negative,
            Err(QuantityError::TooLarge | QuantityError::Malformed) => Self::Absurd,
            Ok(amount) if amount.milli() == u64::MAX => Self::Absurd,
            Ok(amount) => amount.whole().map_or_else(|| Self::Fraction(amount.milli()), Self::Whole),
        }
    }
}

/// One amount of a managed resource that is not zero.
#[derive(Debug)]
struct Ask<'a> {
    container: &'a str,
    resource: &'a str,
    text: String,
    amount: Amount,
}

/// Why the pod, or the pods of the template, cannot be granted; nothing if they can, or if an update does not change what they ask for.
pub(super) fn refusal(asked: &Asked<'_>, object: &Value, rules: &Rules) -> Option<String> {
    let spec = template::spec(asked.kind, object)?;
    let is_changed = asked.is_create() || (asked.kind != "Pod" && template::spec(asked.kind, asked.old_object) != Some(spec));
    if !is_changed {
        return None;
    }
    let asks = asks(spec, rules);
    let (shares, rest): (Vec<_>, Vec<_>) = asks.iter().partition(|ask| ask.resource == SHARE_MILLI);
    let (memory, whole): (Vec<_>, Vec<_>) = rest.into_iter().partition(|ask| ask.resource == SHARE_MEMORY_MIB);
    None.or_else(|| asks.iter().find(|ask| ask.amount == Amount::Negative).map(negative))
        .or_else(|| shares.iter().find(|ask| !is_at_most(ask, SHARE_MAX)).map(|ask| more_than_one_gpu(ask)))
        .or_else(|| whole.iter().find(|ask| matches!(ask.amount, Amount::Fraction(_))).map(|ask| no_integer(ask)))
        .or_else(|| whole.iter().find(|ask| !is_at_most(ask, DEVICES_MAX)).map(|ask| more_than_a_node_has(ask)))
        .or_else(|| memory.iter().find(|ask| !is_at_most(ask, MEMORY_MIB_MAX)).map(|ask| more_memory_than_there_is(ask)))
        .or_else(|| memory.iter().find(|ask| !shares.iter().any(|share| share.container == ask.container)).map(|ask| lone_memory(ask)))
        .or_else(|| shares.first().zip(whole.first()).map(|(share, whole)| mixture(share, whole)))
        .or_else(|| {
            let scheduler = spec.get("schedulerName").and_then(Value::as_str).unwrap_or("default-scheduler");
            let is_other = scheduler != rules.scheduler && scheduler != "default-scheduler";
            shares.first().filter(|_| is_other).map(|share| other_scheduler(share, scheduler, &rules.scheduler))
        })
}

/// Whether any container asks for a managed accelerator.
pub(super) fn asks_for_accelerators(spec: &Value, rules: &Rules) -> bool {
    asks(spec, rules).iter().any(|ask| ask.resource != SHARE_MEMORY_MIB)
}

fn asks<'a>(spec: &'a Value, rules: &Rules) -> Vec<Ask<'a>> {
    let is_managed = |name: &str| name == SHARE_MILLI || name == SHARE_MEMORY_MIB || rules.classes.of(name).is_some();
    template::LISTS
        .iter()
        .flat_map(|(list, _)| template::containers(spec, list))
        .flat_map(|container| template::amounts(container, "limits").into_iter().flatten().map(|limit| (template::name(container), limit)))
        .filter(|(_, (resource, _))| is_managed(resource))
        .map(|(container, (resource, amount))| {
            let text = template::text(amount);
            Ask { container, resource, amount: Amount::read(&text), text }
        })
        .filter(|ask| ask.amount != Amount::Whole(0))
        .collect()
}

fn is_at_most(ask: &Ask<'_>, max: u64) -> bool {
    matches!(ask.amount, Amount::Whole(amount) if amount <= max)
}

fn negative(ask: &Ask<'_>) -> String {
    let Ask { container, resource, text, .. } = ask;
    format!(
        "container '{container}' asks for {text} of {resource}: an amount must be greater than or equal to 0; write one, or leave {resource} out"
    )
}

fn more_than_one_gpu(ask: &Ask<'_>) -> String {
    let Ask { container, text, .. } = ask;
    format!(
        "container '{container}' asks for {text} thousandths of a GPU ({SHARE_MILLI}, or a fractional nvidia.com/gpu that was rewritten to \
         it): a share is at most 1000, one GPU, and what is more than one GPU comes whole; write a whole number such as \
         'nvidia.com/gpu: 2', or a share such as 'nvidia.com/gpu: 0.5'"
    )
}

fn no_integer(ask: &Ask<'_>) -> String {
    let Ask { container, resource, text, .. } = ask;
    let remedy = if *resource == "nvidia.com/gpu" {
        format!("the container asks for a share as {SHARE_MILLI} already; leave one of the two out")
    } else {
        format!("only GPUs of nvidia.com/gpu can be shared; write a whole number such as '{resource}: 1'")
    };
    format!("container '{container}' asks for {text} of {resource}, which must be an integer here: {remedy}")
}

fn more_than_a_node_has(ask: &Ask<'_>) -> String {
    let Ask { container, resource, text, .. } = ask;
    format!(
        "container '{container}' asks for {text} of {resource}: no node has more than {DEVICES_MAX} devices; write a plain whole number \
         from 1 to {DEVICES_MAX} such as '{resource}: 8', and spread what needs more over several pods"
    )
}

fn more_memory_than_there_is(ask: &Ask<'_>) -> String {
    let Ask { container, text, .. } = ask;
    format!(
        "container '{container}' asks for {text} MiB of GPU memory ({SHARE_MEMORY_MIB}): no GPU has so much; write a plain number of MiB \
         such as '{SHARE_MEMORY_MIB}: 16384'"
    )
}

fn lone_memory(ask: &Ask<'_>) -> String {
    let Ask { container, .. } = ask;
    format!(
        "container '{container}' asks for {SHARE_MEMORY_MIB} without a share of a GPU: memory is a part of a share, and a whole GPU comes \
         with all of its memory; add a share such as 'nvidia.com/gpu: 0.5' to the container, or leave {SHARE_MEMORY_MIB} out"
    )
}

fn mixture(share: &Ask<'_>, whole: &Ask<'_>) -> String {
    format!(
        "the pod asks for a share of a GPU (container '{}') and for whole devices ({} of {}, container '{}'): shares and whole devices \
         never meet in one pod, init containers included; ask for shares only or for whole devices only, or split the pod in two",
        share.container, whole.text, whole.resource, whole.container
    )
}

fn other_scheduler(share: &Ask<'_>, named: &str, ours: &str) -> String {
    format!(
        "container '{}' asks for a share of a GPU, and the pod names the scheduler '{named}': only Gangplank counts shares; write \
         'schedulerName: {ours}' or leave schedulerName out, or ask for whole GPUs",
        share.container
    )
}
