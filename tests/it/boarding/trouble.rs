//! A member deleted, a node lost, a quota that refuses a member, at each state of a gang: it is rolled forward or undone,
//! and nothing leaks.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::scene::{SOON, Scene, is_gated, taint};
use crate::support::installed::{node_of, scheduling_message};
use crate::support::{NodeTemplate, create_nodes, wait_until};

const MEMBERS: usize = 4;
/// One more than a gang takes.
const NODES: usize = 5;
const GPUS_OF_THREE: u32 = 24;
const QUOTA: &str = "gpus";

/// How far the gang is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The quota lets three be created.
    Collecting,
    /// Nominations cannot be written.
    Reserved,
    /// kube-scheduler stands still.
    Released,
    /// Two nodes of four are tainted after the plan, and the fifth is closed.
    InPart,
    Bound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    MemberDeleted,
    NodeLost,
    /// A member is deleted, and its successor is refused for a while.
    SuccessorRefused,
}

const STATES: [State; 5] = [State::Collecting, State::Reserved, State::Released, State::InPart, State::Bound];
const TROUBLES: [Trouble; 3] = [Trouble::MemberDeleted, Trouble::NodeLost, Trouble::SuccessorRefused];

fn template(index: usize) -> Node {
    NodeTemplate::default().named(format!("node-{index}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_whatever_state_a_gang_is_whole_in_the_end_and_nothing_leaks() -> Result<()> {
    // One of the states is that of waiting for nominations.
    let profile = gangplank::policy::Profile::DEFAULT_YAML.replace("nominateAboveNodes: 1000", "nominateAboveNodes: 0");
    let nodes = (0..NODES).map(template).collect();
    let Some(mut scene) = Scene::start("trouble at each state", nodes, Some(&profile)).await? else { return Ok(()) };
    for trouble in TROUBLES {
        for state in STATES {
            let began = Instant::now();
            let case = format!("{trouble:?} while {state:?}");
            play(&mut scene, state, trouble).await.with_context(|| case.clone()).with_context(|| scene.installed.gangplank.log())?;
            eprintln!("{case}: whole after {:.1} s", began.elapsed().as_secs_f32());
        }
    }
    Ok(())
}

/// The API server counts whole GPUs when pods are created. Parts of GPUs it cannot count: there the plan is refused, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_of_shares_above_its_quota_waits_as_a_whole_until_the_quota_is_raised() -> Result<()> {
    let Some(mut scene) = Scene::start("a gang of shares", vec![template(0)], None).await? else { return Ok(()) };
    set_quota(&scene, 1).await?;
    scene.create_job("shares", MEMBERS, "0.5", json!({})).await?;
    let waited = wait_until("all four to be told of the quota", SOON, async || {
        let pods = scene.pods_of("shares").await?;
        let told = |pod: &Pod| scheduling_message(pod) == "gangplank: exceeds ResourceQuota gpus, shares counted";
        Ok((pods.len() == MEMBERS && pods.iter().all(told)).then_some(pods))
    });
    let pods = waited.await.with_context(|| scene.installed.gangplank.log())?;
    ensure!(pods.iter().all(|pod| node_of(pod).is_none()) && scene.places().await?.is_empty(), "two of four would fit");
    set_quota(&scene, 2).await?;
    scene.bound("shares", MEMBERS).await?;
    scene.nothing_leaks().await
}

async fn play(scene: &mut Scene, state: State, trouble: Trouble) -> Result<()> {
    let job = format!("{state:?}-{trouble:?}").to_lowercase();
    let places = reach(scene, state, &job).await?;
    let pods = scene.pods_of(&job).await?;
    // A bound one, where some are and some are not.
    let victim = pods.iter().find(|pod| state != State::InPart || node_of(pod).is_some()).context("a member")?;
    let name = victim.name_any();
    let now = DeleteParams::default().grace_period(0);
    let mut lost = None;
    match trouble {
        Trouble::MemberDeleted => drop(scene.pods.delete(&name, &now).await?),
        Trouble::NodeLost => {
            let node = places.get(&name).cloned().unwrap_or_else(|| "node-0".to_owned());
            scene.nodes.delete(&node, &DeleteParams::default()).await?;
            if node_of(victim).is_some() {
                // As pod garbage collection does after 40 s.
                scene.pods.delete(&name, &now).await?;
            }
            lost = Some(node);
        }
        Trouble::SuccessorRefused => {
            set_quota(scene, 0).await?;
            scene.pods.delete(&name, &now).await?;
            wait_until("its successor to be refused", SOON, async || {
                let notes = scene.notes_of_job("FailedCreate", &job).await?;
                Ok(notes.iter().any(|note| note.contains("exceeded quota")).then_some(()))
            })
            .await?;
        }
    }
    restore(scene).await?;
    let pods = scene.bound(&job, MEMBERS).await?;
    let nodes: std::collections::BTreeSet<&str> = pods.iter().filter_map(node_of).collect();
    ensure!(nodes.len() == MEMBERS && lost.as_deref().is_none_or(|lost| !nodes.contains(lost)), "{nodes:?}, lost {lost:?}");
    scene.nothing_leaks().await?;
    scene.delete_job(&job).await?;
    if let Some(index) = lost.and_then(|lost| lost.strip_prefix("node-")?.parse().ok()) {
        create_nodes(&scene.client, vec![template(index)]).await?;
    }
    scene.nothing_leaks().await
}

/// Creates the gang and brings it to a state. The places that its members have by then.
async fn reach(scene: &mut Scene, state: State, job: &str) -> Result<BTreeMap<String, String>> {
    match state {
        State::Collecting => set_quota(scene, GPUS_OF_THREE).await?,
        State::Reserved => nominations_allowed(scene, false).await?,
        State::Released | State::InPart => scene.installed.scheduler.signal("STOP")?,
        State::Bound => {}
    }
    scene.create_job(job, MEMBERS, "8", json!({})).await?;
    match state {
        State::Collecting => {
            wait_until("three to be told why the fourth does not come", SOON, async || {
                let pods = scene.pods_of(job).await?;
                let told = |pod: &Pod| scheduling_message(pod) == "gangplank: members of the group cannot be created";
                Ok((pods.len() == MEMBERS - 1 && pods.iter().all(told)).then_some(()))
            })
            .await?;
        }
        State::Reserved => {
            wait_until("all to be planned", SOON, async || Ok((scene.places().await?.len() == MEMBERS).then_some(()))).await?;
            ensure!(scene.pods_of(job).await?.iter().all(is_gated), "released without waiting for nominations");
        }
        State::Released | State::InPart => {
            wait_until("all to be released", SOON, async || {
                let pods = scene.pods_of(job).await?;
                Ok((pods.len() == MEMBERS && !pods.iter().any(is_gated)).then_some(()))
            })
            .await?;
        }
        State::Bound => drop(scene.bound(job, MEMBERS).await?),
    }
    let places = scene.places().await?;
    if state == State::InPart {
        for node in places.values().take(2) {
            taint(&scene.nodes, node, true).await?;
        }
        let spare = (0..NODES).map(|index| format!("node-{index}")).find(|node| !places.values().any(|taken| taken == node));
        scene.cordon(&spare.context("a fifth node")?, true).await?;
        scene.scheduler_anew().await?;
        wait_until("two to be bound", SOON, async || {
            Ok((scene.pods_of(job).await?.iter().filter(|pod| node_of(pod).is_some()).count() == 2).then_some(()))
        })
        .await?;
    }
    Ok(places)
}

/// Everything is allowed again.
async fn restore(scene: &Scene) -> Result<()> {
    scene.installed.scheduler.signal("CONT")?;
    nominations_allowed(scene, true).await?;
    for node in scene.nodes.list(&kube::api::ListParams::default()).await? {
        taint(&scene.nodes, &node.name_any(), false).await?;
        scene.cordon(&node.name_any(), false).await?;
    }
    let quotas: Api<ResourceQuota> = Api::namespaced(scene.client.clone(), &scene.namespace);
    match quotas.delete(QUOTA, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// So many GPUs in all, counted before this returns.
async fn set_quota(scene: &Scene, gpus: u32) -> Result<()> {
    let quotas: Api<ResourceQuota> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": QUOTA},
        "spec": {"hard": {"requests.nvidia.com/gpu": gpus.to_string()}}});
    quotas.patch(QUOTA, &PatchParams::apply("test").force(), &Patch::Apply(&quota)).await?;
    wait_until("the quota to be counted", SOON, async || {
        let hard = quotas.get(QUOTA).await?.status.and_then(|status| status.hard).unwrap_or_default();
        Ok(hard.get("requests.nvidia.com/gpu").is_some_and(|hard| hard.0 == gpus.to_string()).then_some(()))
    })
    .await
}

/// Whether Gangplank may write nominations.
async fn nominations_allowed(scene: &Scene, allowed: bool) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(scene.client.clone());
    let mut role = roles.get("gangplank").await?;
    let granted = role.rules.get_or_insert_default();
    for rule in granted.iter_mut() {
        let resources: Vec<&str> = rule.resources.iter().flatten().map(String::as_str).collect();
        if resources == ["pods/status"] || resources == ["pods/refused"] {
            rule.resources = Some(vec![if allowed { "pods/status" } else { "pods/refused" }.to_owned()]);
        }
    }
    roles.replace("gangplank", &PostParams::default(), &role).await?;
    Ok(())
}
