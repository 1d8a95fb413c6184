//! How a `Sweep` begins.

use super::training_job::{ACCELERATORS, COMMAND, FRAMEWORK, IMAGE};
use super::{Answers, Begin, Question};

pub(in super::super) const SWEEP: Begin = Begin {
    name: "sweep",
    questions: &[
        Question::new("search", "grid for all combinations, random for some of them, halving for more budget to the best of some", "grid")
            .of(|| vec!["grid", "random", HALVING]),
        // One of 27 gets 27 times as much as all begin with.
        Question::new("trials", "How many trials", "")
            .by(|answers| if halves(answers) { "27" } else { "20" }.to_owned())
            .when(|answers| answers.get("search") != "grid"),
        Question::new("budget-min", "What each trial may spend first, in epochs, steps or whatever the program counts", "1").when(halves),
        Question::new("budget-max", "What the best may spend in the end", "27").when(halves),
        Question::new("metric", "The number that says how good a trial is, as its logs call it", "val_loss").when(halves),
        Question::new("goal", "Whether less of it is better, or more", "minimize").of(|| vec!["minimize", "maximize"]).when(halves),
        Question::new("parallel", "How many at a time", "4"),
        FRAMEWORK,
        IMAGE,
        COMMAND,
        ACCELERATORS,
    ],
    text: "\
spec:
  search: <search> # grid: all combinations; random: as many as `trials` says; halving: as many, and the best go on
  trials: <trials>
  budget: {min: <budget-min>, max: <budget-max>, factor: 3} # the program finds its own in BUDGET; the best third go on with three times as much
  metric: {name: <metric>, goal: <goal>} # read from the logs: `<metric>=0.25`; what is said last counts
!metric   # metric: {name: val_loss, goal: minimize}   # says which trial is the best; read from the logs: `val_loss=0.25`
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
    # checkpoint: {path: /output}   # a trial of halving that goes on does so from there
",
};

fn halves(answers: &Answers) -> bool {
    answers.get("search") == HALVING
}

const HALVING: &str = "halving";
