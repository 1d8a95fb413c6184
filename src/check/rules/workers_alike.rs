//! `workers-alike`: workers of one group that nothing tells apart.

use super::{Found, Input, Level, Rule, indexed};

pub(super) const RULE: Rule = Rule {
    id: "workers-alike",
    finds: "A Job whose pods all run at once with accelerators, and that is not Indexed.",
    why: "Its pods differ in nothing but a name that ends in random letters. None knows its rank, and none can be found by name, so they train the same thing side by side or wait for each other.",
    fix: "`completionMode: Indexed` in the Job's `spec`; the index is then in JOB_COMPLETION_INDEX and in the host name. `--fix` writes it.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for pod in input.pods() {
        let Some(job) = pod.group().filter(|job| !job.indexed) else { continue };
        let reads = |path: &str| path.contains("job-completion-index");
        let variables = pod.containers();
        let mut variables = variables.iter().flat_map(|container| container.all("env"));
        // That is said by `rank-without-index`.
        if variables.any(|variable| variable.text_at("valueFrom.fieldRef.fieldPath").is_some_and(reads)) {
            continue;
        }
        let field = job.spec.get("completions").unwrap_or_else(|| job.spec.clone());
        let problem = format!("nothing tells the {} workers apart: the Job is not Indexed", job.completions);
        let edit = indexed(input, &job.spec);
        found.push(Found::new(Level::Warning, &field, problem, "write completionMode: Indexed in the Job's spec").edits(edit));
    }
    found
}
