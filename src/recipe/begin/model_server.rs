//! How a `ModelServer` begins.

use super::super::runtime;
use super::training_job::ACCELERATORS;
use super::{Begin, Question};

pub(in super::super) const MODEL_SERVER: Begin = Begin {
    name: "server",
    questions: &[
        Question::new("runtime", "What serves", "vllm").of(|| runtime::ALL.iter().map(|runtime| runtime.name).collect()),
        Question::new("model", "Where the model is: a claim, claim/folder, s3://bucket/folder or hf://organisation/name", "").by(
            |answers| {
                let model = match answers.get("runtime") {
                    "vllm" => "hf://Qwen/Qwen3-8B",
                    "plain" => "",
                    _ => "models",
                };
                model.to_owned()
            },
        ),
        Question::new("image", "The image", "").by(|answers| match answers.get("runtime") {
            "plain" => "ghcr.io/team/server:1.0".to_owned(),
            _ => String::new(),
        }),
        Question::new("port", "Where it listens", "8080").when(|answers| answers.get("runtime") == "plain"),
        Question::new("replicas", "How many: 2, or 2..10 by load", "2"),
        ACCELERATORS,
        Question::new("cpu", "Processors of each", "4"),
        Question::new("memory", "Memory of each", "32Gi"),
    ],
    text: "\
spec:
  runtime: <runtime> # <runtime:about>
  model: <model> # a claim, claim/folder, s3://bucket/folder, gs://bucket/folder, hf://organisation/name
  image: <image>
!image   # image: ghcr.io/team/server:1.0   # the runtime brings one
  port: <port>
  replicas: <replicas> # 2..10 by load
  accelerators: <accelerators> # each replica's; H100:1, 24GB..:1, gpu:0.5
  cpu: <cpu> # each replica's; what load is measured by, if nothing else is said
  memory: <memory>
  # autoscale: {cpu: 70, perReplica: {requests_per_second: 100}}
  # monitoring: {interval: 15s}        # where the Prometheus operator is
  # allowFrom: {namespaces: {purpose: application}}   # everybody, if left out
  # tls: {issuer: internal}            # cert-manager's; or {secret: my-tls}
  # canary: {image: \"ghcr.io/team/server:1.1\", weight: 10}
",
};
