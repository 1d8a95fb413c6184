//! What others have to say of a gang that waits, and what they are asked for: the owner that cannot create its members, and
//! autoscalers, which the tests play.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gangplank::policy::Profile;
use k8s_openapi::api::core::v1::{Node, Pod, PodTemplate, ResourceQuota};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use crate::support::installed::{apply_file, node_of, scheduling_message};
use crate::support::{NodeTemplate, apply_yaml, create_nodes, wait_until};

/// A kind that is installed is followed within a minute; what follows has to be seen as well.
const FOLLOWED: Duration = Duration::from_secs(75);

/// What the pods of a gang say whose other members cannot be created.
const NOT_CREATED: &str = "gangplank: members of the group cannot be created";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_eight_in_a_quota_of_five_pods_says_so_and_runs_when_the_quota_is_raised() -> Result<()> {
    let Some(mut scene) = Scene::start("a_job_of_eight_in_a_quota_of_five_pods", nodes(0..8), None).await? else { return Ok(()) };
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

fn nodes(range: std::ops::Range<u32>) -> Vec<Node> {
    range.map(|index| NodeTemplate::default().named(format!("n{index}"))).collect()
}

fn profile(autoscaling: &str) -> String {
    Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nautoscaling: {autoscaling}\naccelerators:"))
}

/// What explain says of nodes that were asked for, once it says `text`.
async fn asked(scene: &mut Scene, text: &str) -> Result<String> {
    let pod = scene.pods_of("train").await?.pop().context("no pod")?.name_any();
    let mut said = String::new();
    let waited = wait_until(text, FOLLOWED, async || {
        said = scene.explained(&pod).await?["nodesAsked"].as_str().map(str::to_owned).unwrap_or_default();
        Ok(said.contains(text).then_some(()))
    })
    .await;
    waited.with_context(|| format!("{said}\n{}", scene.installed.gangplank.log()))?;
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_that_lacks_nodes_asks_for_them_and_boards_when_they_are_there() -> Result<()> {
    let class = "check-capacity.autoscaling.x-k8s.io";
    let profile = profile(&format!("{{mode: provisioning-request, afterSeconds: 2, provisioningClass: {class}, parameters: {{a: b}}}}"));
    let Some(mut scene) = Scene::start("a_gang_that_lacks_nodes_asks_for_them", nodes(0..4), Some(&profile)).await? else { return Ok(()) };
    apply_file(&scene.client, "gangplank-system", "deploy/provisioning/rbac.yaml".as_ref()).await?;
    scene.create_job("train", 6, "8", json!({})).await?;
    wait_until("six pods", SOON, async || Ok((scene.pods_of("train").await?.len() == 6).then_some(()))).await?;
    asked(&mut scene, "the cluster serves no ProvisioningRequest").await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/boarding/provisioning-requests.yaml");
    apply_file(&scene.client, "default", &file).await?;
    asked(&mut scene, "no autoscaler has answered yet").await?;

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("autoscaling.x-k8s.io", "v1", "ProvisioningRequest"));
    let requests: Api<DynamicObject> = Api::namespaced_with(scene.client.clone(), &scene.namespace, &kind);
    let templates: Api<PodTemplate> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let [request] = requests.list(&ListParams::default()).await?.items.try_into().ok().context("one request")?;
    let name = request.name_any();
    let spec = json!({"provisioningClassName": class, "parameters": {"a": "b"}, "podSets": [{"count": 6, "podTemplateRef": {"name": format!("{name}-0")}}]});
    ensure!(request.data["spec"] == spec, "{:#}", request.data["spec"]);
    let job = scene.jobs.get("train").await?;
    let owner = &request.owner_references()[0];
    ensure!(
        (&owner.kind, &owner.name, Some(&owner.uid)) == (&"Job".to_owned(), &"train".to_owned(), job.metadata.uid.as_ref()),
        "{owner:?}"
    );
    let template = serde_json::to_value(templates.get(&format!("{name}-0")).await?)?["template"]["spec"].clone();
    ensure!(
        template["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8" && template["schedulingGates"].is_null(),
        "{template:#}"
    );
    ensure!(template["schedulerName"] == "gangplank", "{template:#}");

    let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "Test", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let say = async |conditions: Value| {
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        requests.patch_status(&name, &PatchParams::default(), &patch).await
    };
    say(json!([condition("Accepted", "True", "ok"), condition("Provisioned", "False", "two are missing")])).await?;
    let expected = format!("ProvisioningRequest {}/{name} ({class}): an autoscaler works on it: two are missing", scene.namespace);
    asked(&mut scene, &expected).await?;
    let says = |pod: &Pod, key: &str| pod.annotations().get(&format!("autoscaling.x-k8s.io/{key}")).cloned();
    let consumes = |pod: &Pod| {
        says(pod, "consume-provisioning-request").as_ref() == Some(&name) && says(pod, "provisioning-class-name").as_deref() == Some(class)
    };
    wait_until("every member to say where its nodes come from", SOON, async || {
        Ok(scene.pods_of("train").await?.iter().all(consumes).then_some(()))
    })
    .await?;
    let gated = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.is_some());
    ensure!(scene.pods_of("train").await?.iter().all(gated), "nothing is let go");
    create_nodes(&scene.client, nodes(4..6)).await?;
    say(json!([condition("Accepted", "True", "ok"), condition("Provisioned", "True", "there they are")])).await?;
    scene.bound("train", 6).await?;
    wait_until("the request and its template to be gone", SOON, async || {
        let left = requests.list(&ListParams::default()).await?.items.len() + templates.list(&ListParams::default()).await?.items.len();
        Ok((left == 0).then_some(()))
    })
    .await
    .with_context(|| scene.installed.gangplank.log())?;
    scene.delete_job("train").await?;
    scene.nothing_leaks().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_that_lacks_nodes_is_let_go_to_be_seen_and_boards_whole() -> Result<()> {
    let profile = profile("{mode: release, afterSeconds: 2}");
    let Some(mut scene) = Scene::start("a_gang_that_lacks_nodes_is_let_go", nodes(0..4), Some(&profile)).await? else { return Ok(()) };
    scene.create_job("train", 6, "8", json!({})).await?;
    // What cluster-autoscaler and Karpenter look for.
    let unschedulable = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let scheduled = conditions.into_iter().flatten().find(|condition| condition.type_ == "PodScheduled");
        scheduled.is_some_and(|condition| condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
    };
    let waited = wait_until("six pods to be unschedulable", SOON, async || {
        let pods = scene.pods_of("train").await?;
        Ok((pods.len() == 6 && pods.iter().all(unschedulable)).then_some(pods))
    });
    let pods = waited.await.with_context(|| scene.installed.gangplank.log())?;
    let message = scheduling_message(&pods[0]);
    ensure!(message.contains("4 gangplank: the group does not fit as a whole"), "{message}");
    asked(&mut scene, "let go").await?;
    create_nodes(&scene.client, nodes(4..5)).await?;
    // One after the other, as an autoscaler brings them: nobody starts before the last.
    let early = wait_until("a pod to start early", Duration::from_secs(4), async || {
        Ok(scene.pods_of("train").await?.iter().any(|pod| node_of(pod).is_some()).then_some(()))
    });
    ensure!(early.await.is_err(), "five of six nodes are not enough");
    create_nodes(&scene.client, nodes(5..6)).await?;
    scene.bound("train", 6).await?;
    scene.delete_job("train").await?;
    scene.nothing_leaks().await
}
