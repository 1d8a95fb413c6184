//! What a refusal costs, by its words and by the map it stands in.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::recorder::{Call, accept, refuse};
use super::scene::{Scene, say};

const CONSTANT: &str = "no node has free devices";
const WINDOW: Duration = Duration::from_secs(4);

/// The scheduler writes the reason into the pod, and the write of its own wakes the pod once more; then the words are the
/// same, nothing is written, and it rests. Hence `model::Reason` has constant texts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_the_same_words_is_asked_twice_and_in_changing_words_on_and_on() -> Result<()> {
    let script = |call: &Call| match (call.verb.as_str(), call.pod.as_str()) {
        ("filter", "constant") => refuse(call, "FailedAndUnresolvableNodes", CONSTANT),
        ("filter", "left-out") => json!({"NodeNames": []}),
        ("filter", "changing") => refuse(call, "FailedAndUnresolvableNodes", &format!("{} tries so far", call.earlier)),
        _ => accept(call),
    };
    let Some(scene) = Scene::open("a refusal's words decide how often it is asked", 5, "8", script).await? else { return Ok(()) };
    for (pod, most) in [("constant", 2), ("left-out", 2), ("changing", usize::MAX)] {
        scene.create_pod(pod, "1", "").await?;
        let reason = scene.reason_of(pod).await?;
        tokio::time::sleep(WINDOW).await;
        let calls = scene.recorder.calls_of("filter", pod);
        say(&format!("{pod}: {} filter calls in {WINDOW:?}, {reason:?}", calls.len()));
        assert!(calls.len() <= most, "{pod}: {} calls", calls.len());
        assert!(calls.iter().all(|call| call.nodes.len() == 5), "{pod}");
        if pod == "changing" {
            assert!(calls.len() > 10, "{} calls: has the loop been mended?", calls.len());
        }
    }
    Ok(())
}

/// What a replica that must not guess yet relies on: the pod comes back by the clock, once a backoff, and nobody is preempted
/// for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_brings_the_pod_back_after_its_backoff_and_preempts_nobody() -> Result<()> {
    let script = |call: &Call| match (call.verb.as_str(), call.earlier) {
        ("filter", 0..2) => json!({"Error": "not ready yet"}),
        _ => accept(call),
    };
    let Some(scene) = Scene::open("an error brings the pod back after its backoff", 5, "8", script).await? else { return Ok(()) };
    scene.create_pod("patient", "1", "").await?;
    scene.node_of("patient").await?;
    let calls = scene.recorder.calls_of("filter", "patient");
    let pauses: Vec<_> = calls.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at)).collect();
    say(&format!("after an error: pauses of {pauses:?}"));
    assert_eq!(pauses.len(), 2);
    // One second, then two; the queue looks once a second.
    assert!(pauses[0] >= Duration::from_millis(900) && pauses[1] >= Duration::from_millis(1_900), "{pauses:?}");
    assert!(pauses[1] < Duration::from_secs(6), "{pauses:?}");
    assert!(scene.recorder.calls().iter().all(|call| call.verb != "preempt"));
    Ok(())
}
