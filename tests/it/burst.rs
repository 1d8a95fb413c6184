//! Many pods at once over many nodes: everything bound, nothing granted twice, the book equal to the objects.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use gangplank::model::PodKey;
use gangplank::wire::extender::{BindRequest, client};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::support::installed::{assert_granted_once, digest_of_objects, granted, install_account, is_running, managed_namespace, node_of};
use crate::support::{ControlPlane, Gangplank, HttpClient, Installed, Options, create_namespace, wait_until};

const PODS: usize = 500;
const NODES: u32 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_pods_in_a_burst_over_a_thousand_nodes_are_all_bound_once() -> Result<()> {
    let options = Options { nodes: NODES, ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("five hundred pods in a burst", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let mut installed = Installed::start(&control_plane, &client).await?;
    let namespace = managed_namespace(&client, "burst").await?;
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);

    let began = Instant::now();
    create_all(api.clone(), PODS).await?;
    let created = began.elapsed();
    let pods = wait_until("all pods to run", Duration::from_mins(3), async || {
        let pods = api.list(&ListParams::default()).await?.items;
        Ok(pods.iter().all(is_running).then_some(pods))
    })
    .await?;
    let ran = began.elapsed();
    eprintln!(
        "{PODS} pods over {NODES} nodes: created in {:.1} s, all running after {:.1} s, {:.0} pods/s",
        created.as_secs_f32(),
        ran.as_secs_f32(),
        PODS as f32 / ran.as_secs_f32()
    );

    let devices = granted(&pods);
    ensure!(devices.len() == PODS && devices.iter().all(|(_, _, _, share)| share["id"].is_string()), "every pod has a named device");
    assert_granted_once(&pods);
    same_book(&mut installed.gangplank, &client).await
}

fn one_gpu(index: usize) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("burst-{index:03}")},
        "spec": {"containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
    }))
    .expect("a pod")
}

/// How often it is killed, in bursts of how many pods over how many nodes.
struct Kills {
    count: usize,
    pods: usize,
    nodes: u32,
}

/// SIGKILL in the middle of bursts, over and over. Each time: who asks for no accelerator does not notice, and the next
/// process finds in the API objects what the last one had written, no more and no less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_bursts_it_finds_the_same_book_in_the_objects_and_plain_pods_never_notice() -> Result<()> {
    let long = std::env::var_os("GANGPLANK_LONG").is_some();
    let kills = if long { Kills { count: 50, pods: PODS, nodes: NODES } } else { Kills { count: 4, pods: 100, nodes: 100 } };
    let options = Options { nodes: kills.nodes, ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("killed during bursts", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let Installed { mut gangplank, scheduler, kubeconfig } = Installed::start(&control_plane, &client).await?;
    let port = gangplank.address().port();
    let plain: Api<Pod> = Api::namespaced(client.clone(), &create_namespace(&client, "plain").await?);
    let (mut done, mut late, mut ready_ms, mut burst) = (0, 0, Vec::new(), 0);
    while done < kills.count {
        burst += 1;
        let namespace = managed_namespace(&client, &format!("burst-{burst}")).await?;
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let creating = tokio::spawn(create_all(api.clone(), kills.pods));
        let mut bound = 0;
        loop {
            // Kubernetes backs off for up to 10 s after an error, and a fresh process binds nothing in its first second.
            bound = wait_until("more pods to be bound", Duration::from_mins(1), async || {
                let now = count_bound(&api).await?;
                Ok((now > bound).then_some(now))
            })
            .await
            .with_context(|| gangplank.log())?;
            if bound == kills.pods {
                break;
            }
            if done == kills.count {
                continue;
            }
            // At different times after the first bindings, but before the last.
            if bound * 4 < kills.pods {
                tokio::time::sleep(Duration::from_millis(37 * (done as u64 % 7))).await;
            }
            gangplank.kill()?;
            let at_kill = count_bound(&api).await?;
            let in_the_midst = (1..kills.pods).contains(&at_kill);
            plain_pods_run(&plain, done + late).await?;
            // Nothing is bound while the two books are compared.
            scheduler.signal("STOP")?;
            let began = Instant::now();
            gangplank = Gangplank::start_at(&control_plane, &kubeconfig, port, &[])?;
            gangplank.wait_ready().await?;
            ready_ms.push(began.elapsed().as_millis());
            same_book(&mut gangplank, &client).await.with_context(|| format!("after {done} kills"))?;
            scheduler.signal("CONT")?;
            bound = at_kill.min(kills.pods - 1);
            done += usize::from(in_the_midst);
            late += usize::from(!in_the_midst);
            ensure!(late <= 5 * kills.count, "{late} kills came after the last binding, and {done} before: shorten the pauses");
        }
        creating.await??;
        let pods = api.list(&ListParams::default()).await?.items;
        assert_granted_once(&pods);
        ensure!(granted(&pods).len() == kills.pods, "every pod has its device: {:?}", granted(&pods));
        api.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
        wait_until("the burst to be gone", Duration::from_mins(2), async || {
            Ok(api.list(&ListParams::default()).await?.items.is_empty().then_some(()))
        })
        .await?;
    }
    ready_ms.sort_unstable();
    eprintln!(
        "{done} kills with some bound and some not, {late} later, in {burst} bursts of {} pods over {} nodes; ready again after {} to {} ms, median {}",
        kills.pods,
        kills.nodes,
        ready_ms[0],
        ready_ms[ready_ms.len() - 1],
        ready_ms[ready_ms.len() / 2]
    );
    Ok(())
}

async fn create_all(api: Api<Pod>, count: usize) -> Result<()> {
    stream::iter(0..count)
        .map(|index| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &one_gpu(index)).await }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

async fn count_bound(api: &Api<Pod>) -> Result<usize> {
    Ok(api.list(&ListParams::default()).await?.items.iter().filter(|pod| node_of(pod).is_some()).count())
}

/// Pods that ask for no accelerator, of either scheduler, are created and run with Gangplank gone.
async fn plain_pods_run(api: &Api<Pod>, kill: usize) -> Result<()> {
    for scheduler in ["default-scheduler", "gangplank"] {
        let name = format!("{scheduler}-{kill}");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"schedulerName": scheduler, "containers": [{"name": "main", "image": "none"}]},
        }))?;
        api.create(&PostParams::default(), &pod).await?;
        wait_until(&format!("{name} to run"), Duration::from_secs(20), async || Ok(is_running(&api.get(&name).await?).then_some(())))
            .await?;
    }
    Ok(())
}

async fn same_book(gangplank: &mut Gangplank, client: &kube::Client) -> Result<()> {
    wait_until("the book to equal the objects", Duration::from_secs(30), async || {
        let ours = gangplank.get("/api/v1/digest").await?;
        Ok((ours["digest"] == json!(digest_of_objects(client).await?)).then_some(()))
    })
    .await
}

const CLIENTS: usize = 64;
/// They ask for 2,200 of 1,920 GPUs: each is filtered, most are bound, the rest are refused.
const ASKING: usize = 1100;
const CALLS_MIN: usize = 2000;

/// Many schedulers at once, as no kube-scheduler would be: each client filters and binds pods of its own, all of them
/// over the same few nodes, against the real API server. More is asked for than there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_over_the_real_api_server_grant_no_device_twice() -> Result<()> {
    let options = Options { nodes: 240, ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("sixty-four clients", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    let mut gangplank = Gangplank::start(&control_plane, &kubeconfig, &["--bind-deadline-ms=20000"])?;
    gangplank.wait_ready().await?;
    let namespace = create_namespace(&client, "clients").await?;
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    // Whoever schedules these pods is the clients below, and nobody else.
    let pods: Vec<Pod> = stream::iter(0..ASKING)
        .map(|index| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &scheduled_by_nobody(index)).await }
        })
        .buffer_unordered(16)
        .try_collect()
        .await?;
    let nodes: Vec<String> =
        Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    ensure!(nodes.len() == 240, "{nodes:?}");

    let address = gangplank.address();
    let shared = Arc::new(Mutex::new(pods));
    let tasks = (0..CLIENTS).map(|_| tokio::spawn(filter_and_bind(address, shared.clone(), nodes.clone())));
    let mut counts = Counts::default();
    for task in futures::future::join_all(tasks).await {
        let done = task??;
        counts = Counts { calls: counts.calls + done.calls, bound: counts.bound + done.bound, refused: counts.refused + done.refused };
    }
    eprintln!("{CLIENTS} clients: {counts:?}");
    ensure!(counts.calls >= CALLS_MIN, "{counts:?}");

    let pods = api.list(&ListParams::default()).await?.items;
    assert_granted_once(&pods);
    let bound = pods.iter().filter(|pod| node_of(pod).is_some()).count();
    ensure!(
        bound == counts.bound && bound == granted(&pods).iter().map(|(pod, ..)| pod).collect::<BTreeSet<_>>().len(),
        "{counts:?}, {bound} bound"
    );
    let devices = granted(&pods).len();
    ensure!((1913..=1920).contains(&devices), "all but odd remainders of 1,920 devices are in use: {devices}");
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: usize,
    bound: usize,
    refused: usize,
}

async fn filter_and_bind(address: SocketAddr, pods: Arc<Mutex<Vec<Pod>>>, nodes: Vec<String>) -> Result<Counts> {
    let mut http = HttpClient::open(address).await?;
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let mut counts = Counts::default();
    loop {
        let Some(pod) = pods.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?.pop() else { return Ok(counts) };
        let raw = client::pod_json(&pod)?;
        let reply = http.post("/scheduler/filter", &client::render_filter_request(&raw, &nodes)).await?;
        let answer: serde_json::Value = serde_json::from_slice(&reply.body)?;
        counts.calls += 1;
        let Some(node) = answer["NodeNames"][0].as_str() else {
            counts.refused += 1;
            continue;
        };
        let request = BindRequest {
            key: PodKey::new(pod.namespace().unwrap_or_default(), pod.name_any()),
            uid: pod.uid().unwrap_or_default().as_str().into(),
            node: node.into(),
        };
        let reply = http.post("/scheduler/bind", &client::render_bind_request(&request)).await?;
        let answer: serde_json::Value = serde_json::from_slice(&reply.body)?;
        counts.calls += 1;
        counts.bound += usize::from(answer["Error"] == "");
    }
}

/// One to three GPUs.
fn scheduled_by_nobody(index: usize) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("pod-{index:04}")},
        "spec": {"schedulerName": "nobody", "containers": [
            {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": (index % 3 + 1).to_string()}}}]},
    }))
    .expect("a pod")
}
