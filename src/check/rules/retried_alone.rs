//! `retried-alone`: one worker of a group begins again while the others wait for the one that it was.

use super::{Edit, Found, Input, Level, Rule};

pub(super) const RULE: Rule = Rule {
    id: "retried-alone",
    finds: "`restartPolicy: OnFailure` in a Job whose workers form one group.",
    why: "The kubelet starts the failed container again in its pod. The others are in a collective with the process that is gone, and hang until their time-out; devices stay held meanwhile. No pod failure policy can be used either.",
    fix: "`restartPolicy: Never`: a failure is the pod's, it counts against `backoffLimit`, and pod failure policies apply. `--fix` writes it.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        let (Some(job), Some(policy)) = (pod.group(), pod.spec.get("restartPolicy")) else { continue };
        if policy.text() == Some("OnFailure") {
            let edit = Edit::replace(input.text(&policy), policy.node, &"Never".into());
            let problem = format!("a worker that fails starts again alone, while {} others wait for it", job.completions - 1);
            found.push(Found::new(Level::Warning, &policy, problem, "write Never").edits([edit]));
        }
    }
    found
}
