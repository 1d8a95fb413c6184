//! How a `TrainingJob` begins, and the questions that other kinds ask as well.

use super::super::framework;
use super::{Answers, Begin, Question};

pub(in super::super) const TRAINING_JOB: Begin = Begin {
    name: "train",
    questions: &[FRAMEWORK, IMAGE, COMMAND, ACCELERATORS, WORKERS, DATASET, RESULTS, EXPECTED_DURATION],
    text: "\
spec:
  framework: <framework> # <framework:about>
  image: <image>
  command: <command:words>
  workers: <workers> # 4..16 for a program that can work with fewer
  accelerators: <accelerators> # each worker's; H100:8, A100|H100:4, 24GB..:2, gpu:0.5, tpu-v5e:4x4
  # cpu: 8                       # each worker's; a namespace with a quota wants both
  # memory: 64Gi
?dataset   datasets:
    <dataset:mount> # only read
!dataset   # datasets:
!dataset   #   /data: training-data     # only read; PATH: claim, or claim/folder
?results   outputs:
    <results:mount> # written
!results   # outputs:
!results   #   /output: results         # written
  # topology: {preferred: rack}  # or required: wait until it can be had
  # checkpoint: {path: /output/checkpoints, every: 30m}
  expectedDuration: <expected-duration> # for queues and for filling gaps; nothing is ended by it
!expected-duration   # expectedDuration: 8h         # for queues and for filling gaps; nothing is ended by it
  # priority: high               # a PriorityClass
",
};

pub(super) const FRAMEWORK: Question = Question::new("framework", "How the workers find each other", "pytorch")
    .of(|| framework::ALL.iter().map(|framework| framework.name).collect());
/// The framework's own.
pub(super) const IMAGE: Question =
    Question::new("image", "The image", "").by(|answers| chosen(answers).map_or_else(String::new, |it| it.image().to_owned()));
/// The framework's own.
pub(super) const COMMAND: Question = Question::new("command", "The program and its arguments", "")
    .by(|answers| chosen(answers).map_or_else(String::new, |it| it.command().join(" ")));
pub(super) const ACCELERATORS: Question =
    Question::new("accelerators", "Accelerators of each, such as H100:8, gpu:0.5 or tpu-v5e:4x4", "gpu:1");
pub(super) const DATASET: Question = Question::new("dataset", "A claim that is only read, and where, such as training-data:/data", "");
pub(super) const RESULTS: Question = Question::new("results", "A claim that is written, and where, such as results:/output", "");
// A slice says it itself.
const WORKERS: Question = Question::new("workers", "How many workers: 4, or 2..8 for a program that can work with fewer", "1")
    .when(|answers| !answers.get("accelerators").starts_with("tpu-"));
const EXPECTED_DURATION: Question = Question::new("expected-duration", "How long it will run, such as 8h", "");

fn chosen(answers: &Answers) -> Option<&'static framework::Framework> {
    framework::ALL.iter().find(|framework| framework.name == answers.get("framework"))
}
