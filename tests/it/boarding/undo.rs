//! A gang that was bound in part and cannot be whole is taken back through its owner: no pod counts as failed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::recipes::failed_pods;
use super::scene::{SOON, Scene, is_gated, taint};
use super::seeds::{SIXTEEN, claims, submit_sixteen};
use crate::support::installed::node_of;
use crate::support::{NodeTemplate, wait_until};

const NODES: usize = 16;
/// Two deadlines of 11 s, the end of the pods, and what a busy machine adds.
const UNDONE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_by_eight_bound_in_part_are_taken_back_and_the_job_never_fails() -> Result<()> {
    // Each takes half a minute of deadlines.
    let rounds = if std::env::var_os("GANGPLANK_LONG").is_some() { 10 } else { 1 };
    let boxes = (0..NODES).map(|index| NodeTemplate::default().named(format!("node-{index:02}"))).collect();
    let Some(mut scene) = Scene::start("undo", boxes, None).await? else { return Ok(()) };
    claims(&scene).await?;
    for round in 0..rounds {
        let closed = format!("node-{:02}", round * 5 % NODES);
        let (undone, whole) = play(&mut scene, &closed).await.with_context(|| scene.installed.gangplank.log())?;
        eprintln!(
            "round {round}: 15 of 16 were bound; none {:.1} s later; all 16 {:.1} s after the node came back",
            undone.as_secs_f32(),
            whole.as_secs_f32()
        );
    }
    Ok(())
}

/// How long it took until none was bound, and how long until all were.
async fn play(scene: &mut Scene, closed: &str) -> Result<(Duration, Duration)> {
    // Nobody binds between the plan and the taint.
    scene.installed.scheduler.signal("STOP")?;
    submit_sixteen(scene).await?;
    wait_until("all sixteen to be released", SOON, async || {
        let pods = scene.pods_of(SIXTEEN).await?;
        Ok((pods.len() == NODES && !pods.iter().any(is_gated)).then_some(()))
    })
    .await?;
    taint(&scene.nodes, closed, true).await?;
    scene.installed.scheduler.signal("CONT")?;
    wait_until("fifteen to be bound", SOON, async || Ok((bound(scene).await? == NODES - 1).then_some(()))).await?;
    let began = Instant::now();
    wait_until("those to be taken back", UNDONE, async || {
        unharmed(&scene.jobs.get(SIXTEEN).await?)?;
        Ok((bound(scene).await? == 0).then_some(()))
    })
    .await?;
    let undone = began.elapsed();
    // Its pods are there again, and wait.
    wait_until("the Job to go on", SOON, async || {
        let job = scene.jobs.get(SIXTEEN).await?;
        unharmed(&job)?;
        let pods = scene.pods_of(SIXTEEN).await?;
        let suspended = job.spec.and_then(|spec| spec.suspend) == Some(true);
        Ok((!suspended && pods.len() == NODES && pods.iter().all(is_gated)).then_some(()))
    })
    .await?;
    scene.nothing_leaks().await?;
    let began = Instant::now();
    taint(&scene.nodes, closed, false).await?;
    scene.bound(SIXTEEN, NODES).await?;
    let whole = began.elapsed();
    unharmed(&scene.jobs.get(SIXTEEN).await?)?;
    scene.nothing_leaks().await?;
    scene.delete_job(SIXTEEN).await?;
    Ok((undone, whole))
}

async fn bound(scene: &Scene) -> Result<usize> {
    let has_node = |pod: &&Pod| node_of(pod).is_some();
    Ok(scene.pods_of(SIXTEEN).await?.iter().filter(has_node).count())
}

/// Nothing of it counts as failed.
fn unharmed(job: &Job) -> Result<()> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let bad: Vec<&str> = conditions.map(|condition| condition.type_.as_str()).filter(|kind| kind.starts_with("Fail")).collect();
    ensure!(failed_pods(job) == 0 && bad.is_empty(), "the Job counts {} failed pods, {bad:?}", failed_pods(job));
    Ok(())
}
