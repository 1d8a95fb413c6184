//! What a request looks like.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::recorder::{Call, accept};
use super::scene::{Scene, say};
use crate::support::{apply_yaml, wait_until};

/// Parser and body limits rest on these: a pod without `kind`, names instead of nodes, and a length up front.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_request_has_a_length_a_pod_without_kind_and_all_the_names() -> Result<()> {
    let Some(scene) = Scene::open("what a filter request looks like", 120, "8", accept).await? else { return Ok(()) };
    scene.create_pod("small", "1", "").await?;
    scene.node_of("small").await?;
    let calls = scene.settle(2, Duration::from_millis(300)).await?;
    assert_eq!(calls.iter().map(|call| call.verb.as_str()).collect::<Vec<_>>(), ["filter", "prioritize"]);
    for call in &calls {
        let body = call.json()?;
        assert_eq!(call.nodes.len(), 120, "percentageOfNodesToScore: 100 shows every node");
        assert!(body["Nodes"].is_null());
        assert!(body["Pod"]["kind"].is_null() && body["Pod"]["apiVersion"].is_null());
        assert!(body["Pod"]["metadata"]["managedFields"].is_null());
        assert_eq!(call.headers["content-length"], call.body.len().to_string().as_str());
        assert_eq!(call.headers["content-type"], "application/json");
    }
    Ok(())
}

/// A worker of a training job as its controller makes it: what the body limit must let through with room to spare.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_pod_with_forty_variables_stays_under_ten_kilobytes() -> Result<()> {
    let Some(scene) = Scene::open("the size of a training pod", 2, "64", accept).await? else { return Ok(()) };
    let variables: Vec<String> =
        (0..40).map(|index| format!("{{name: NCCL_TUNING_{index:02}, value: 'a value of some length {index}'}}")).collect();
    let job = format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: training}}, spec: {{parallelism: 1, completions: 1, completionMode: Indexed,
           template: {{metadata: {{labels: {{app: training, team: vision, experiment: a-long-name-of-an-experiment}},
             annotations: {{example.com/commit: 0123456789abcdef0123456789abcdef01234567}}}},
           spec: {{schedulerName: {}, restartPolicy: Never, serviceAccountName: default,
             volumes: [{{name: shm, emptyDir: {{medium: Memory, sizeLimit: 64Gi}}}}, {{name: data, hostPath: {{path: /data}}}}],
             containers: [{{name: main, image: registry.example.com/training/pytorch:2.9, command: [torchrun, --nnodes=4, train.py],
               env: [{}], volumeMounts: [{{name: shm, mountPath: /dev/shm}}, {{name: data, mountPath: /data}}],
               resources: {{limits: {{nvidia.com/gpu: 8, cpu: 32, memory: 512Gi}}}}}}]}}}}}}}}",
        scene.scheduler_name,
        variables.join(", ")
    );
    apply_yaml(&scene.client, &scene.namespace, &job).await?;
    let filter = wait_until("the Job's pod to be asked about", super::scene::TIMEOUT, async || {
        Ok(scene.recorder.calls().into_iter().find(|call| call.verb == "filter" && call.pod.starts_with("training-")))
    })
    .await?;
    let pod = filter.json()?["Pod"].to_string().len();
    scene.create_pod("small", "1", "").await?;
    scene.node_of("small").await?;
    let small = scene.recorder.calls_of("filter", "small").first().map_or(Ok(Value::Null), Call::json)?["Pod"].to_string().len();
    say(&format!("a pod in a filter request: {small} B the smallest, {pod} B of a training Job"));
    assert!((500..2_000).contains(&small), "{small} B");
    assert!((2_000..10_000).contains(&pod), "{pod} B");
    Ok(())
}
