//! The rules. What may live here: one file a rule, with the headings that [`Rule`] has, and its line in [`ALL`].

mod affinity_label;
mod canary_weights;
mod empty_claim;
mod fractional;
mod image_tag;
mod mount_without_volume;
mod product;
mod quota_never_counted;
mod quota_request;
mod rank_without_index;
mod reference;
mod retried_alone;
mod scaler;
mod secret;
mod selector;
mod shared_memory;
mod whole_node;
mod workers_alike;
mod world_address;
mod world_size;

use super::edit::Edit;
use super::manifest::{At, Pod, gpus_milli, selects, variable, words};
use super::{Found, Input, Level, Rule};

/// Every rule, in the order of the page.
pub static ALL: &[Rule] = &[
    rank_without_index::RULE,
    workers_alike::RULE,
    world_size::RULE,
    world_address::RULE,
    retried_alone::RULE,
    fractional::RULE,
    product::RULE,
    whole_node::RULE,
    affinity_label::RULE,
    shared_memory::RULE,
    quota_request::RULE,
    quota_never_counted::RULE,
    secret::RULE,
    image_tag::RULE,
    scaler::RULE,
    canary_weights::RULE,
    selector::RULE,
    mount_without_volume::RULE,
    reference::RULE,
    empty_claim::RULE,
];

/// The edit that makes a Job Indexed.
fn indexed(input: &Input<'_>, spec: &At<'_>) -> Option<Edit> {
    let text = input.text(spec);
    match spec.get("completionMode") {
        Some(mode) => Some(Edit::replace(text, mode.node, &"Indexed".into())),
        None => Edit::insert(text, spec.node, "completionMode", &"Indexed".into()),
    }
}
