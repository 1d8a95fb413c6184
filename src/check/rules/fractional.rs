//! `fractional-device`: half a device, where nobody shares devices.

use super::{Edit, Found, Input, Level, Rule};
use crate::model::{Quantity, SHARE_MILLI};

pub(super) const RULE: Rule = Rule {
    id: "fractional-device",
    finds: "A part of a device (`nvidia.com/gpu: 0.5`), or a share of one (`gangplank.dev/gpu-milli`), in a pod that does not name Gangplank as its scheduler.",
    why: "Kubernetes takes whole devices only: the API server refuses the pod, unless Gangplank's admission rewrites it before. A share without Gangplank waits for ever, for no node offers that resource.",
    fix: "`gangplank.dev/gpu-milli` with thousandths of a device, and `schedulerName: gangplank`. `--fix` writes both. Where Gangplank serves the default scheduler, with its admission, say `--gangplank`: then nothing is wrong.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    if input.facts.gangplank {
        return found;
    }
    for pod in input.pods() {
        let ours = pod.scheduler() == Some("gangplank");
        let scheduler = || match pod.spec.get("schedulerName") {
            Some(name) => Some(Edit::replace(input.text(&name), name.node, &"gangplank".into())),
            None if pod.plain => Edit::insert(input.text(&pod.spec), pod.spec.node, "schedulerName", &"gangplank".into()),
            None => None,
        };
        for list in pod.containers().iter().flat_map(|container| [container.go("resources.limits"), container.go("resources.requests")]) {
            for (key, amount) in list.iter().flat_map(super::At::entries) {
                let name = key.text().unwrap_or_default();
                let Some(quantity) = amount.text().and_then(|text| Quantity::parse(text).ok()) else { continue };
                if name == "nvidia.com/gpu" && quantity.whole().is_none() {
                    let edit = Edit::entry(input.text(&amount), key, amount.node, SHARE_MILLI, &quantity.milli().into());
                    let problem = format!("{} of a device is refused: Kubernetes counts whole ones", amount.text().unwrap_or_default());
                    let fix = format!("write {SHARE_MILLI}: {} and schedulerName: gangplank", quantity.milli());
                    let edits = [edit].into_iter().chain(if ours { None } else { scheduler() });
                    found.push(Found::new(Level::Error, &amount, problem, fix).edits(edits));
                } else if name == SHARE_MILLI && !ours {
                    let problem = "only Gangplank places shares of devices, and this pod goes to another scheduler";
                    found.push(Found::new(Level::Error, &amount, problem, "write schedulerName: gangplank").edits(scheduler()));
                }
            }
        }
    }
    found
}
