//! How a `Team` begins.

use super::{Begin, Question};

pub(in super::super) const TEAM: Begin = Begin {
    name: "team-quota",
    questions: &[
        Question::new("namespace", "Whose namespace", "ml"),
        Question::new("gpus", "How many GPUs all of it may use", "8"),
        Question::new("cpu", "How many processors", "128"),
        Question::new("memory", "How much memory", "1Ti"),
    ],
    text: "\
spec:
  # What all pods together may ask for.
  requests:
    cpu: <cpu>
    memory: <memory>
?gpus   accelerators:
    nvidia.com/gpu: <gpus> # shares count, too, where Gangplank grants them
  # What a container asks for that does not say it; without this such pods are refused.
  defaults:
    cpu: 1
    memory: 4Gi
",
};
