//! What others have to say of a gang that waits: the owner that cannot create its members.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::scene::{SOON, Scene};
use crate::support::installed::scheduling_message;
use crate::support::{NodeTemplate, apply_yaml, wait_until};

/// What the pods of a gang say whose other members cannot be created.
const NOT_CREATED: &str = "gangplank: members of the group cannot be created";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_eight_in_a_quota_of_five_pods_says_so_and_runs_when_the_quota_is_raised() -> Result<()> {
    let nodes = (0..8).map(|index| NodeTemplate::default().named(format!("n{index}"))).collect();
    let Some(mut scene) = Scene::start("a_job_of_eight_in_a_quota_of_five_pods", nodes, None).await? else { return Ok(()) };
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: five}\nspec: {hard: {pods: 5}}\n";
    apply_yaml(&scene.client, &scene.namespace, quota).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(scene.client.clone(), &scene.namespace);
    // Before it is counted the quota admits nobody.
    wait_until("the quota to be counted", SOON, async || Ok(quotas.get("five").await?.status.and_then(|status| status.used).map(drop)))
        .await?;
    scene.create_job("train", 8, "8", json!({})).await?;
    let waited = wait_until("five pods to say that the others cannot be created", SOON, async || {
        let pods = scene.pods_of("train").await?;
        Ok((pods.len() == 5 && pods.iter().all(|pod| scheduling_message(pod) == NOT_CREATED)).then_some(pods))
    });
    let pods = waited.await.with_context(|| scene.installed.gangplank.log())?;
    let refusal = scene.explained(&pods[0].name_any()).await?["trace"]["refusal"].clone();
    let there = refusal["there"].as_str().unwrap_or_default();
    ensure!(refusal["reason"] == "members-not-created" && refusal["needed"] == format!("8 members of gang {}/train", scene.namespace));
    ensure!(
        there.starts_with(&format!("5 of them; Job {}/train cannot create the other 3: Error creating: pods ", scene.namespace)),
        "{there}"
    );
    ensure!(there.contains("exceeded quota: five, requested: pods=1, used: pods=5, limited: pods=5"), "{there}");
    ensure!(refusal["remedy"].as_str().is_some_and(|remedy| remedy.starts_with("raise that ResourceQuota")), "{refusal}");
    let queue = scene.installed.gangplank.get("/api/v1/gangs").await?;
    ensure!(queue["gangs"][0]["refusal"]["there"] == there, "{queue}");
    let told = scene.notes("GangWaiting").await?;
    ensure!(told.iter().any(|note| note.contains("exceeded quota: five")), "{told:?}");

    quotas.patch("five", &PatchParams::default(), &Patch::Merge(json!({"spec": {"hard": {"pods": "8"}}}))).await?;
    scene.bound("train", 8).await?;
    scene.delete_job("train").await?;
    scene.nothing_leaks().await
}
