//! How a `BatchJob` begins.

use super::training_job::{ACCELERATORS, DATASET, RESULTS};
use super::{Begin, Question};

pub(in super::super) const BATCH_JOB: Begin = Begin {
    name: "batch",
    questions: &[
        Question::new("image", "The image", "ghcr.io/team/process:1.0"),
        Question::new("command", "The program and its arguments", "python process.py"),
        Question::new("chunks", "How many chunks of data there are", "100"),
        Question::new("parallel", "How many at a time", "")
            .by(|answers| answers.get("chunks").parse().unwrap_or(PARALLEL).min(PARALLEL).to_string()),
        ACCELERATORS.by(|_| String::new()),
        DATASET,
        RESULTS,
    ],
    text: "\
spec:
  image: <image>
  command: <command:words>
  # The program finds its chunk in CHUNK_INDEX, from 0, and their number in CHUNK_COUNT.
  chunks: <chunks>
  parallel: <parallel> # how many run at a time
  accelerators: <accelerators> # each chunk's
!accelerators   # accelerators: gpu:0.5      # each chunk's
  # cpu: 2                       # each chunk's; a namespace with a quota wants both
  # memory: 8Gi
?dataset   datasets:
    <dataset:mount> # only read
!dataset   # datasets:
!dataset   #   /raw: raw-data           # only read; PATH: claim, or claim/folder
?results   outputs:
    <results:mount> # written
!results   # outputs:
!results   #   /processed: processed    # written
  # retries: 3                   # of each chunk
  # failedChunks: 5              # may fail for good before the job is given up
",
};

const PARALLEL: u32 = 10;
