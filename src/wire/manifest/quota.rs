//! What a pod counts for in a ResourceQuota, and what a ResourceQuota limits, by the API server's names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::model::Quantity;
use crate::sim::{Charge, HardLimits};

/// The hard limits of a ResourceQuota; absent for one with scopes, which are not simulated.
pub fn hard_limits(object: &Value) -> Option<HardLimits> {
    let spec = &object["spec"];
    if !spec["scopes"].is_null() || !spec["scopeSelector"].is_null() {
        return None;
    }
    let hard = spec["hard"].as_object().into_iter().flatten().filter(|(name, _)| is_counted(name));
    let hard: BTreeMap<Arc<str>, u64> = hard.map(|(name, amount)| (Arc::from(name.as_str()), milli(amount))).collect();
    Some(HardLimits::new(super::namespace(object).into(), object["metadata"]["name"].as_str().unwrap_or_default().into(), hard))
}

/// `limits.<extended resource>` is accepted by the API server and never counted; objects other than pods are not here.
fn is_counted(name: &str) -> bool {
    let limits = name.strip_prefix("limits.");
    limits.map_or_else(
        || name == "pods" || name == "count/pods" || name == "cpu" || name == "memory" || name.starts_with("requests."),
        |rest| rest == "cpu" || rest == "memory" || rest == "ephemeral-storage",
    )
}

/// What a pod counts for.
pub fn charge(pod: &Value) -> Charge {
    let spec = &pod["spec"];
    let list = |field: &str| spec[field].as_array().map_or(&[][..], Vec::as_slice);
    let (main, init) = (list("containers"), list("initContainers"));
    let mut charge = Charge::default();
    for side in ["requests", "limits"] {
        let names: BTreeSet<&String> = main.iter().chain(init).flat_map(|container| stated(container, side).into_keys()).collect();
        for name in names {
            let sum: u64 = main.iter().map(|container| amount(container, side, name)).fold(0, u64::saturating_add);
            let peak = init.iter().map(|container| amount(container, side, name)).max().unwrap_or(0);
            charge.amounts.insert(format!("{side}.{name}").into(), sum.max(peak));
        }
        for name in ["cpu", "memory"] {
            if main.iter().any(|container| !stated(container, side).contains_key(&name.to_owned())) {
                charge.unset.insert(format!("{side}.{name}").into());
                if side == "requests" {
                    charge.unset.insert(name.into());
                }
            }
        }
    }
    for name in ["cpu", "memory"] {
        if let Some(amount) = charge.amounts.get(format!("requests.{name}").as_str()).copied() {
            charge.amounts.insert(name.into(), amount);
        }
    }
    charge.amounts.extend([("pods".into(), 1000), ("count/pods".into(), 1000)]);
    charge
}

/// Amounts of a container: a limit without a request is a request too.
fn stated<'a>(container: &'a Value, side: &str) -> BTreeMap<&'a String, &'a Value> {
    let of = |side: &str| container["resources"][side].as_object().into_iter().flatten();
    let limits = of("limits").filter(|_| side == "requests");
    limits.chain(of(side)).collect()
}

fn amount(container: &Value, side: &str, name: &String) -> u64 {
    stated(container, side).get(name).map_or(0, |amount| milli(amount))
}

/// Thousandths; what cannot be read counts as everything, so that a quota refuses it.
fn milli(amount: &Value) -> u64 {
    let text = amount.as_str().map_or_else(|| amount.to_string(), String::from);
    Quantity::parse(&text).map_or(u64::MAX, Quantity::milli)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_without_a_request_is_charged_as_a_request_too() {
        let pod = json!({"spec": {"containers": [
            {"resources": {"limits": {"nvidia.com/gpu": 2, "cpu": "1500m"}}},
            {"resources": {"limits": {"cpu": 1}, "requests": {"cpu": "250m"}}},
        ], "initContainers": [{"resources": {"requests": {"cpu": 4}}}]}});
        let charge = charge(&pod);
        let of = |name: &str| charge.amounts.get(name).copied();
        assert_eq!(of("requests.nvidia.com/gpu"), Some(2_000));
        assert_eq!(of("requests.cpu"), Some(4_000));
        assert_eq!(of("cpu"), Some(4_000));
        assert_eq!(of("limits.cpu"), Some(2_500));
        assert_eq!(of("pods"), Some(1_000));
        let unset: Vec<&str> = charge.unset.iter().map(AsRef::as_ref).collect();
        assert_eq!(unset, ["limits.memory", "memory", "requests.memory"]);
    }

    #[test]
    fn only_lines_that_the_api_server_counts_limit_anything() {
        let quota = json!({"metadata": {"name": "team", "namespace": "ml"}, "spec": {"hard": {
            "requests.cpu": "100", "limits.cpu": "200", "requests.nvidia.com/gpu": 20, "limits.nvidia.com/gpu": 20, "services": 3,
        }}});
        let hard = hard_limits(&quota).unwrap().hard;
        assert_eq!(hard.keys().map(AsRef::as_ref).collect::<Vec<&str>>(), ["limits.cpu", "requests.cpu", "requests.nvidia.com/gpu"]);
        let scoped = json!({"metadata": {"name": "team"}, "spec": {"hard": {"pods": 1}, "scopes": ["BestEffort"]}});
        assert!(hard_limits(&scoped).is_none());
    }
}
