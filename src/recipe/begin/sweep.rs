//! How a `Sweep` begins.

use super::training_job::{ACCELERATORS, COMMAND, FRAMEWORK, IMAGE};
use super::{Begin, Question};

pub(in super::super) const SWEEP: Begin = Begin {
    name: "sweep",
    questions: &[
        Question::new("search", "grid for all combinations, random for some of them", "grid").of(|| vec!["grid", "random"]),
        Question::new("trials", "How many trials", "20").when(|answers| answers.get("search") == "random"),
        Question::new("parallel", "How many at a time", "4"),
        FRAMEWORK,
        IMAGE,
        COMMAND,
        ACCELERATORS,
    ],
    text: "\
spec:
  search: <search> # grid: all combinations; random: as many as `trials` says
  trials: <trials>
  parallel: <parallel> # how many run at a time
  # Each trial finds its own values in the file that PARAMETERS_FILE names.
  parameters:
    batch_size: {values: [32, 64]}
    learning_rate: {values: [0.0001, 0.001, 0.01]}
    # dropout: {min: 0.0, max: 0.5, step: 0.1}
    # decay: {min: 0.000001, max: 0.01, log: true}   # a range without steps is for random
  job:
    framework: <framework> # <framework:about>
    image: <image>
    command: <command:words>
    accelerators: <accelerators> # each trial's; H100:1, 24GB..:1, gpu:0.5
    # outputs: {/output: results}
",
};
