//! How a `Pipeline` begins: with one step, which plain Kubernetes has; how there come to be more is a comment.

use super::training_job::ACCELERATORS;
use super::{Begin, Question};

pub(in super::super) const PIPELINE: Begin = Begin {
    name: "pipeline",
    questions: &[
        Question::new("schedule", "When, as cron has it, such as 0 3 * * *; once, if left out", ""),
        Question::new("image", "The image", "ghcr.io/team/train:1.0"),
        Question::new("command", "The program and its arguments", "python train.py"),
        ACCELERATORS,
    ],
    text: "\
spec:
  schedule: <schedule> # as cron has it
!schedule   # schedule: \"0 3 * * *\"       # as cron has it; once, at once, without it
  # timeZone: Europe/Berlin
  steps:
  - name: train
    image: <image>
    command: <command:words>
    accelerators: <accelerators> # H100:8, 24GB..:2, gpu:0.5
    retries: 1
  # More steps are an Argo Workflow: gangplank-provision render --as argo
  # - name: evaluate
  #   image: ghcr.io/team/evaluate:1.0
  #   command: [python, evaluate.py]
  #   after: [train]
",
};
