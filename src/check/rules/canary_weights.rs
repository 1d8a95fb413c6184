//! `weights-do-not-add-up`: parts of the traffic that make no whole.

use super::{At, Edit, Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "weights-do-not-add-up",
    finds: "Percents of a Knative Service or weights of an Istio route that are not 100 together; a percent above 100 in KServe or a Rollout; an HTTPRoute whose weights are all 0. Also a Knative Service that sends all traffic to revisions by name, none of which its template has.",
    why: "Knative and Istio refuse it; KServe and Rollouts refuse what is above 100; an HTTPRoute of weights 0 answers each request with status 500. A template without the name of a revision makes one with a name of its own, which gets nothing.",
    fix: "Parts of 100. Where it can be made right by the last part alone, `--fix` writes that.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for object in &input.objects {
        let at = object.at();
        match (object.group.as_str(), object.kind.as_str()) {
            ("serving.knative.dev", "Service" | "Route") => {
                found.extend(whole(input, &at.all("spec.traffic"), "percent"));
                found.extend(left_out(&at));
            }
            ("networking.istio.io", "VirtualService") => {
                for route in at.all("spec.http").iter().map(|rule| rule.all("route")).filter(|route| route.len() > 1) {
                    found.extend(whole(input, &route, "weight"));
                }
            }
            ("serving.kserve.io", "InferenceService") => {
                let parts = ["predictor", "transformer", "explainer"].map(|part| at.go(&format!("spec.{part}.canaryTrafficPercent")));
                found.extend(parts.iter().flatten().filter_map(above));
            }
            ("argoproj.io", "Rollout") => {
                let steps = at.all("spec.strategy.canary.steps");
                found.extend(steps.iter().filter_map(|step| above(&step.get("setWeight")?)));
            }
            ("gateway.networking.k8s.io", "HTTPRoute") => {
                for rule in at.all("spec.rules") {
                    let weights: Vec<_> =
                        rule.all("backendRefs").iter().map(|to| to.get("weight").map_or(Some(1), |at| at.number())).collect();
                    if !weights.is_empty() && weights.iter().all(|weight| *weight == Some(0)) {
                        let field = rule.get("backendRefs").unwrap_or(rule);
                        found.push(Found::new(Level::Error, &field, "all weights are 0: each request fails", "give one a weight"));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn whole(input: &Input<'_>, parts: &[At<'_>], key: &str) -> Option<Found> {
    let last = parts.last()?;
    let numbers: Vec<u64> = parts.iter().map(|part| part.get(key).and_then(|at| at.number()).unwrap_or(0)).collect();
    let sum: u64 = numbers.iter().sum();
    if sum == 100 {
        return None;
    }
    let others = sum - numbers.last().copied().unwrap_or(0);
    let field = last.get(key).unwrap_or_else(|| last.clone());
    let text = input.text(last);
    let right = (others <= 100).then(|| 100 - others);
    let edit = right.and_then(|right| match last.get(key) {
        Some(at) => Some(Edit::replace(text, at.node, &right.into())),
        None => Edit::insert(text, last.node, key, &right.into()),
    });
    let fix = right.map_or_else(|| "give parts of 100".to_owned(), |right| format!("write {right}"));
    Some(Found::new(Level::Error, &field, format!("the parts are {sum} together, not 100"), fix).edits(edit))
}

/// All traffic goes to revisions by name, and what this file describes is none of them.
fn left_out(service: &At<'_>) -> Option<Found> {
    let (template, traffic) = (service.go("spec.template")?, service.go("spec.traffic")?);
    let own = template.text_at("metadata.name");
    let takes = |part: &At<'_>| {
        let revision = part.text_at("revisionName");
        part.number_at("percent") != Some(0) && (revision.is_none() || revision == own)
    };
    let problem = "no traffic goes to what this file describes: its revision has another name";
    let fix = "give spec.template.metadata.name the name of a revision above";
    (!traffic.items().iter().any(takes)).then(|| Found::new(Level::Warning, &traffic, problem, fix))
}

fn above(at: &At<'_>) -> Option<Found> {
    let number = at.number().filter(|number| *number > 100)?;
    Some(Found::new(Level::Error, at, format!("{number} is more than all of the traffic"), "write 0 to 100"))
}
