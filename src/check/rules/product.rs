//! `unknown-product`: a product name that no node carries.

use std::collections::BTreeSet;

use serde_json::json;

use super::{At, Edit, Found, Input, Level, Rule};
use crate::policy::nearest;
use crate::recipe::product_values;

pub(super) const RULE: Rule = Rule {
    id: "unknown-product",
    finds: "A value of a product label (`nvidia.com/gpu.product`, GKE's and AMD's likewise) that no node of `--nodes` carries; without `--nodes`, a short or misspelt name of a known product. One that is like none of them is a note: it may be newer than the table.",
    why: "Labels carry the driver's whole product name, such as `NVIDIA-A100-SXM4-80GB`. A short name matches no node, and the pod waits for ever without a word about it.",
    fix: "The full names. `--fix` writes every known one that contains the short name, or else the nearest; where there is none, it is yours to say.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        if let Some(selector) = pod.spec.get("nodeSelector") {
            for (key, value) in selector.entries() {
                if let Some(meant) = meant(input, key.text().unwrap_or_default(), &value) {
                    // A selector has room for one: with several it is not ours to choose.
                    let edit = (meant.len() == 1).then(|| Edit::replace(input.text(&value), value.node, &json!(meant[0])));
                    found.push(said(input, Level::Error, &value, &meant).edits(edit));
                }
            }
        }
        for term in pod.spec.all("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms") {
            for rule in term.all("matchExpressions").into_iter().filter(|rule| rule.text_at("operator") == Some("In")) {
                let (key, values) = (rule.text_at("key").unwrap_or_default(), rule.all("values"));
                let wrong: Vec<_> = values.iter().filter_map(|value| Some((value, meant(input, key, value)?))).collect();
                // With one that is right the pod runs, though on fewer nodes than was meant.
                let level = if wrong.len() == values.len() { Level::Error } else { Level::Warning };
                for (value, meant) in &wrong {
                    found.push(said(input, level, value, meant).edits(names(input, value, meant, &values)));
                }
            }
        }
    }
    found
}

/// What was meant by a value that nodes do not have; nothing where it is right or cannot be known.
fn meant(input: &Input<'_>, key: &str, value: &At<'_>) -> Option<Vec<String>> {
    let table = product_values(key)?;
    let known: BTreeSet<&str> = match &input.facts.nodes {
        Some(labels) => labels.get(key).into_iter().flatten().map(String::as_str).collect(),
        None => table,
    };
    let written = value.text()?;
    // Devices that are shared or cut have a word more in their names.
    let plain = written.split("-MIG-").next().unwrap_or(written).trim_end_matches("-SHARED");
    if known.contains(written) || input.facts.nodes.is_none() && known.contains(plain) {
        return None;
    }
    let lower = written.to_lowercase();
    let containing = |name: &&&str| format!("-{}-", name.to_lowercase()).contains(&format!("-{lower}-"));
    let mut meant: Vec<String> = known.iter().filter(containing).map(ToString::to_string).collect();
    if meant.is_empty() {
        let names: Vec<&str> = known.into_iter().collect();
        meant.extend(nearest(written, &names).map(str::to_owned));
    }
    Some(meant)
}

fn said(input: &Input<'_>, level: Level, value: &At<'_>, meant: &[String]) -> Found {
    let written = value.text().unwrap_or_default();
    if meant.is_empty() && input.facts.nodes.is_none() {
        // A product may be younger than the table.
        return Found::new(
            Level::Note,
            value,
            format!("`{written}` is no product that is known here"),
            "give check your nodes with --nodes",
        );
    }
    let fix = if meant.is_empty() { "see kubectl get nodes --show-labels".to_owned() } else { format!("write {}", meant.join(", ")) };
    Found::new(level, value, format!("no node carries `{written}`"), fix)
}

/// The names in place of the value, those left out that stand in the list already.
fn names(input: &Input<'_>, value: &At<'_>, meant: &[String], values: &[At<'_>]) -> Vec<Edit> {
    let text = input.text(value);
    let there: BTreeSet<&str> = values.iter().filter_map(At::text).collect();
    let mut new = meant.iter().filter(|name| !there.contains(name.as_str()));
    let Some(first) = new.next() else { return Vec::new() };
    let Some(list) = value.path.rfind('[').and_then(|at| value.object.at().go(&value.path[..at])) else { return Vec::new() };
    let rest = new.filter_map(|name| Edit::item(text, list.node, &json!(name)));
    [Edit::replace(text, value.node, &json!(first))].into_iter().chain(rest).collect()
}
