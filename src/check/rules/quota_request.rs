//! `no-request-under-quota`: the quota counts what the pod does not name.

use super::{Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "no-request-under-quota",
    finds: "A container that names no cpu or memory, in a namespace whose ResourceQuota (in these files) counts it, and without a LimitRange that fills it in.",
    why: "Where a quota counts requests or limits of cpu or memory, the API server refuses every pod that does not name them. Of a Job or Deployment one sees only that no pod appears.",
    fix: "Name the amount, or add a LimitRange with defaults to the namespace. How much it needs is yours to say: `--fix` leaves it.",
    look,
};

const COUNTED: &[(&[&str], &str, &str)] = &[
    (&["requests.cpu", "cpu"], "requests", "cpu"),
    (&["requests.memory", "memory"], "requests", "memory"),
    (&["limits.cpu"], "limits", "cpu"),
    (&["limits.memory"], "limits", "memory"),
];

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for quota in input.of("", "ResourceQuota") {
        let hard = quota.at().go("spec.hard").map(|hard| hard.texts()).unwrap_or_default();
        if quota.at().go("spec.scopes").is_some() || quota.at().go("spec.scopeSelector").is_some() {
            continue;
        }
        if input.of("", "LimitRange").any(|range| range.namespace == quota.namespace) {
            continue;
        }
        for pod in input.pods().iter().filter(|pod| pod.plain && pod.spec.object.namespace == quota.namespace) {
            for container in pod.containers() {
                let named = |of: &str, what: &str| {
                    container.go("resources").is_some_and(|all| all.go(of).is_some_and(|all| all.get(what).is_some()))
                };
                let missing = |(counted, of, what): &&(&[&str], &str, &str)| {
                    // A limit is the request, too, where there is none.
                    counted.iter().any(|name| hard.contains_key(*name)) && !named(of, what) && !named("limits", what)
                };
                let missing: Vec<String> = COUNTED.iter().filter(missing).map(|(_, of, what)| format!("{of}.{what}")).collect();
                if !missing.is_empty() {
                    let field = container.get("resources").unwrap_or_else(|| container.clone());
                    let problem =
                        format!("ResourceQuota {} counts {}, and the container names none: refused", quota.name, missing.join(", "));
                    found.push(Found::new(Level::Error, &field, problem, "name them under resources, or add a LimitRange with defaults"));
                }
            }
        }
    }
    found
}
