//! Recipes for deadlock: more gangs than there is room, all at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::scene::{Sampler, Scene};
use crate::support::{NodeTemplate, wait_until};

/// Between the first Binding of a gang and its last one lie a burst of Bindings, and here and there a retry.
const IN_PART_MAX: Duration = Duration::from_secs(15);

fn boxes(count: usize) -> Vec<k8s_openapi::api::core::v1::Node> {
    (0..count).map(|index| NodeTemplate::default().named(format!("node-{index:02}"))).collect()
}

fn runs_for(duration: &str) -> Value {
    json!({"testcluster.gangplank.dev/complete-after": duration})
}

pub(super) fn completed(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Complete" && condition.status == "True")
}

const GANGS: usize = 60;

/// scheduler-plugins#117: gangs of one to eight that each got some of their members placed, and waited for the rest for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_gangs_on_two_nodes_all_finish() -> Result<()> {
    let Some(mut scene) = Scene::start("gangs on two nodes", boxes(2), None).await? else { return Ok(()) };
    let sampler = Sampler::start(scene.pods.clone());
    let began = Instant::now();
    let mut members_sum = 0;
    for index in 0..GANGS {
        // 1 to 8, in no order.
        let members = (index * 5 + index / 8) % 8 + 1;
        members_sum += members;
        scene.create_job(&format!("gang-{index:02}"), members, "1", runs_for("1s")).await?;
    }
    let finished = wait_until("all gangs to finish", Duration::from_mins(6), async || {
        let jobs = scene.jobs.list(&ListParams::default()).await?.items;
        Ok((jobs.iter().filter(|job| completed(job)).count() == GANGS).then_some(jobs))
    });
    let jobs = finished.await.with_context(|| scene.installed.gangplank.log())?;
    let seen = sampler.stop().await?;
    eprintln!(
        "{} of {GANGS} gangs, {members_sum} members on 16 GPUs, finished after {:.1} s; {} samples, {} gangs seen in part, for at most {:?}",
        jobs.len(),
        began.elapsed().as_secs_f32(),
        seen.samples,
        seen.in_part.len(),
        seen.longest_in_part()
    );
    let failed: Vec<String> = jobs.iter().filter(|job| failed_pods(job) > 0).map(ResourceExt::name_any).collect();
    ensure!(failed.is_empty(), "{failed:?}");
    ensure!(seen.longest_in_part() < IN_PART_MAX, "{:?}", seen.in_part);
    let most = seen.running.iter().map(|running| running.values().sum::<usize>()).max();
    ensure!(most.is_some_and(|most| most <= 16), "{most:?} members held 16 GPUs");
    scene.nothing_leaks().await
}

pub(super) fn failed_pods(job: &Job) -> i32 {
    job.status.as_ref().and_then(|status| status.failed).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gangs_of_a_hundred_one_runs_and_then_the_other() -> Result<()> {
    const MEMBERS: usize = 100;
    let Some(mut scene) = Scene::start("two gangs of a hundred", boxes(13), None).await? else { return Ok(()) };
    let sampler = Sampler::start(scene.pods.clone());
    let began = Instant::now();
    // At the same moment, so that their pods come mixed.
    futures::future::try_join(
        scene.create_job("one", MEMBERS, "1", runs_for("5s")),
        scene.create_job("other", MEMBERS, "1", runs_for("5s")),
    )
    .await?;
    let finished = wait_until("both gangs to finish", Duration::from_mins(4), async || {
        let jobs = scene.jobs.list(&ListParams::default()).await?.items;
        Ok(jobs.iter().all(completed).then_some(jobs))
    });
    let jobs = finished.await.with_context(|| scene.installed.gangplank.log())?;
    let seen = sampler.stop().await?;
    let whole = |name: &str| seen.running.iter().filter(|running| running.get(name) == Some(&MEMBERS)).count();
    eprintln!(
        "two gangs of {MEMBERS} on 104 GPUs: both finished after {:.1} s; {} samples, whole in {} and {}, in part for at most {:?}",
        began.elapsed().as_secs_f32(),
        seen.samples,
        whole("one"),
        whole("other"),
        seen.longest_in_part()
    );
    ensure!(jobs.iter().all(|job| failed_pods(job) == 0), "no pod failed");
    ensure!(whole("one") > 0 && whole("other") > 0, "each ran whole at some moment: {:?}", seen.running);
    // While the last of the first end, the second may not have begun: it needs nearly all the room.
    let both = seen.running.iter().filter(|running| running.len() == 2).max_by_key(|running| running.values().min().copied());
    ensure!(both.is_none_or(|both| both.values().min().is_some_and(|few| *few <= 4)), "half and half: {both:?}");
    ensure!(seen.longest_in_part() < IN_PART_MAX, "{:?}", seen.in_part);
    scene.nothing_leaks().await
}
