//! `rank-without-index`: a worker reads its number where there is none.

use super::{Found, Input, Level, Rule, indexed};

pub(super) const RULE: Rule = Rule {
    id: "rank-without-index",
    finds: "A variable that reads the completion index from an annotation or label of the pod, in a Job that is not Indexed.",
    why: "Only Indexed Jobs give their pods an index. In others the annotation is not there and the variable is empty: every worker has the same rank, or every chunk is the same chunk.",
    fix: "`completionMode: Indexed` in the Job's `spec`. `--fix` writes it.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        let Some(job) = pod.job().filter(|job| !job.indexed) else { continue };
        for variable in pod.containers().iter().flat_map(|container| container.all("env")) {
            let Some(read) = variable.go("valueFrom.fieldRef.fieldPath") else { continue };
            if read.text().is_some_and(|path| path.contains("job-completion-index")) {
                let problem = format!("{} is empty in every pod: the Job is not Indexed", variable.text_at("name").unwrap_or("it"));
                let edit = indexed(input, &job.spec);
                found.push(Found::new(Level::Error, &read, problem, "write completionMode: Indexed in the Job's spec").edits(edit));
            }
        }
    }
    found
}
