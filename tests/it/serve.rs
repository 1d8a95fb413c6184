//! `gangplank serve` between a stock kube-scheduler and a stock API server, with the rights and the scheduler
//! configuration that people install.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::join_all;
use gangplank::cluster::{LEASE_VERBS, verbs};
use gangplank::model::PodKey;
use gangplank::wire::annotations::DEVICES;
use gangplank::wire::extender::{BindRequest, client};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::support::installed::{assert_granted_once, digest_of_objects, install_account, node_of};
use crate::support::{
    ControlPlane, Gangplank, HttpClient, Options, SecondScheduler, apply_yaml, create_namespace, scheduler_config, wait_until,
};

const TIMEOUT: Duration = Duration::from_mins(1);

fn pod(name: &str, scheduler: &str, limits: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "test"}},
        "spec": {
            "schedulerName": scheduler,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}],
        },
    }))
    .expect("a Pod")
}

fn devices_of(pod: &Pod) -> Option<Value> {
    serde_json::from_str(pod.annotations().get(DEVICES)?).ok()
}

async fn wait_running(pods: &Api<Pod>, name: &str) -> Result<Pod> {
    wait_until(&format!("{name} to run"), TIMEOUT, async || {
        let pod = pods.get(name).await?;
        let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        Ok(running.then_some(pod))
    })
    .await
}

/// One namespace of one control plane, with Gangplank in it.
struct Stage<'a> {
    client: &'a Client,
    namespace: &'a str,
    pods: Api<Pod>,
    gangplank: Gangplank,
}

impl Stage<'_> {
    async fn create(&self, name: &str, scheduler: &str, limits: Value) -> Result<Pod> {
        Ok(self.pods.create(&PostParams::default(), &pod(name, scheduler, &limits)).await?)
    }

    async fn running(&self, name: &str) -> Result<Pod> {
        wait_running(&self.pods, name).await.with_context(|| self.gangplank.log())
    }

    /// A bind request for a pod as it was created.
    fn bind_body(&self, pod: &Pod, node: &str) -> Vec<u8> {
        let (key, uid) = (PodKey::new(self.namespace, pod.name_any()), pod.uid().unwrap_or_default());
        client::render_bind_request(&BindRequest { key, uid: uid.as_str().into(), node: node.into() })
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<String> {
        let reply = HttpClient::open(self.gangplank.address()).await?.post("/scheduler/bind", &self.bind_body(pod, node)).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Ok(client::parse_bind_response(&reply.body)?.error)
    }

    /// With the API server frozen there is nothing to know, and nothing is answered.
    async fn refuses_until_it_knows(&mut self, control_plane: &ControlPlane) -> Result<()> {
        let mut http = self.gangplank.client().await?;
        let pod = json!({"metadata": {"name": "x", "namespace": "y", "uid": "z"}, "spec": {}});
        let sample = serde_json::to_vec(&json!({"Pod": pod, "NodeNames": ["a"]}))?;
        for verb in ["filter", "prioritize"] {
            let reply = http.post(&format!("/scheduler/{verb}"), &sample).await?;
            assert_eq!(reply.status, 503, "{verb}: {}", reply.text());
            assert!(reply.text().contains("the first list of"), "{}", reply.text());
        }
        assert_eq!(http.get("/readyz").await?.status, 503);
        assert_eq!(http.get("/healthz").await?.status, 200);
        control_plane.signal("kube-apiserver", "CONT")?;
        self.gangplank.wait_ready().await
    }

    /// The main job: whole devices and shares, through the real scheduler, to Running.
    async fn places_what_asks(&mut self) -> Result<(String, Duration)> {
        let began = Instant::now();
        self.create("one", "gangplank", json!({"nvidia.com/gpu": "1"})).await?;
        let one = self.running("one").await?;
        let ran_after = began.elapsed();
        let devices = devices_of(&one).context("no devices annotation")?;
        assert_eq!(devices["main"].as_array().map(Vec::len), Some(1), "{devices}");
        assert_eq!(devices["main"][0]["resource"], "nvidia.com/gpu");
        let explained = self.gangplank.get(&format!("/api/v1/pods/{}/one", self.namespace)).await?;
        assert_eq!(explained["state"], "bound", "{explained}");
        assert_eq!(explained["node"].as_str(), node_of(&one));
        self.create("whole-node", "gangplank", json!({"nvidia.com/gpu": "8"})).await?;
        self.running("whole-node").await?;
        self.create("share", "gangplank", json!({"gangplank.dev/gpu-milli": "500"})).await?;
        let share = self.running("share").await?;
        assert_eq!(devices_of(&share).context("no devices annotation")?["main"][0]["milli"], 500);
        Ok((node_of(&one).context("no node")?.to_owned(), ran_after))
    }

    /// The kind of an agent's reports is installed while it runs, and an agent reports.
    async fn hears_of_an_agent(&mut self, node: &str) -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crd");
        for file in fs::read_dir(path)?.filter_map(Result::ok).filter(|file| file.file_name().to_string_lossy().contains("acceleratornode"))
        {
            apply_yaml(self.client, "default", &fs::read_to_string(file.path())?).await?;
        }
        let devices: Vec<Value> =
            (0..8).map(|index| json!({"id": format!("GPU-{index}"), "index": index, "resource": "nvidia.com/gpu"})).collect();
        let report = json!({
            "apiVersion": "gangplank.dev/v1alpha1", "kind": "AcceleratorNode",
            "metadata": {"name": node}, "spec": {"devices": devices},
        });
        apply_yaml(self.client, "default", &report.to_string()).await?;
        let named = wait_until("the reported devices", TIMEOUT, async || {
            let nodes = self.gangplank.get("/api/v1/nodes").await?;
            let found = nodes["nodes"].as_array().into_iter().flatten().find(|found| found["name"] == node);
            Ok(found.is_some_and(|found| found["pools"][0]["devices"][7]["id"] == "GPU-7").then_some(()))
        });
        named.await.with_context(|| self.gangplank.log())
    }

    /// The client is gone right after it asked; the Binding is made all the same.
    async fn binds_without_its_client(&self, node: &str) -> Result<()> {
        let cut = self.create("cut", "by-hand", json!({"nvidia.com/gpu": "2"})).await?;
        let body = self.bind_body(&cut, node);
        let head =
            format!("POST /scheduler/bind HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        // Who hangs up before the request has been read never asked; on a busy machine that takes a few tries to avoid.
        for patience_ms in [2, 10, 50, 250] {
            let mut hanging = HttpClient::open(self.gangplank.address()).await?;
            hanging.send(&[head.as_bytes(), &body].concat()).await?;
            tokio::time::sleep(Duration::from_millis(patience_ms)).await;
            drop(hanging);
            tokio::time::sleep(Duration::from_secs(2)).await;
            if node_of(&self.pods.get("cut").await?).is_some() {
                break;
            }
        }
        let cut = self.running("cut").await?;
        assert_eq!(devices_of(&cut).context("no devices annotation")?["main"].as_array().map(Vec::len), Some(2));
        Ok(())
    }

    /// The same bind many times is one Binding; another node or UID is refused and changes nothing.
    async fn binds_once(&self, node: &str) -> Result<()> {
        let twin = self.create("twin", "by-hand", json!({"nvidia.com/gpu": "1"})).await?;
        for error in join_all((0..8).map(|_| self.bind(&twin, node))).await {
            assert_eq!(error?, "");
        }
        let bound = self.pods.get("twin").await?;
        assert_eq!(self.bind(&twin, node).await?, "", "once more, later");
        let elsewhere = self.bind(&twin, "gpu-node-00099").await?;
        assert!(elsewhere.contains("bound to node"), "{elsewhere}");
        let mut stranger = twin.clone();
        stranger.metadata.uid = Some("00000000-0000-0000-0000-000000000000".into());
        let stranger = self.bind(&stranger, node).await?;
        assert!(stranger.contains("UID"), "{stranger}");
        assert_eq!(devices_of(&self.pods.get("twin").await?), devices_of(&bound), "written twice");
        assert_granted_once(&self.pods.list(&ListParams::default()).await?.items);
        Ok(())
    }

    /// The book says what the objects say, before and after a relist, and the relist finds nothing to heal.
    async fn agrees_with_the_objects(&mut self) -> Result<()> {
        let digest = digest_of_objects(self.client).await?;
        let mut http = self.gangplank.client().await?;
        let same = wait_until("the digest", TIMEOUT, async || {
            Ok((self.gangplank.get("/api/v1/digest").await?["digest"] == digest.as_str()).then_some(()))
        });
        same.await?;
        let relisted = wait_until("a relist", TIMEOUT, async || {
            let metrics = http.get("/metrics").await?.text();
            Ok(metrics.contains("gangplank_relists_total{outcome=\"done\"} ").then_some(()))
        });
        relisted.await?;
        assert_eq!(self.gangplank.get("/api/v1/digest").await?["digest"], digest.as_str());
        let metrics = http.get("/metrics").await?.text();
        assert!(!metrics.contains("gangplank_book_drift_total{"), "drift: {metrics}");
        assert!(!metrics.contains("gangplank_invariant_violations_total{"), "{metrics}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_placed_bound_and_explained_and_a_bind_survives_what_clients_do() -> Result<()> {
    let options = Options { nodes: 4, ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("a pod is placed, bound and explained", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    let namespace = create_namespace(&client, "serve").await?;
    control_plane.signal("kube-apiserver", "STOP")?;
    let gangplank = Gangplank::start(&control_plane, &kubeconfig, &["--relist-seconds=5"])?;
    let mut stage = Stage { client: &client, namespace: &namespace, pods: Api::namespaced(client.clone(), &namespace), gangplank };
    stage.refuses_until_it_knows(&control_plane).await?;
    let scheduler = SecondScheduler::start(&control_plane, &scheduler_config(stage.gangplank.address())?).await?;
    let (node, ran_after) = stage.places_what_asks().await?;
    eprintln!("from creation to Running: {ran_after:?}");
    stage.binds_without_its_client(&node).await?;
    stage.binds_once(&node).await?;
    stage.agrees_with_the_objects().await?;
    stage.hears_of_an_agent("gpu-node-00003").await?;
    drop(scheduler);
    assert!(stage.gangplank.terminate()?, "ended well on SIGTERM");
    Ok(())
}

#[test]
fn the_account_may_do_what_the_program_does() -> Result<()> {
    let granted = |file: &str, kind: &str, name: &str| -> Result<Vec<(String, String, String)>> {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
        let role = documents
            .into_iter()
            .find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
            .context(kind.to_string())?;
        let list = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        let mut rights = Vec::new();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    rights.extend(list(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
                }
            }
        }
        Ok(rights)
    };
    let used = |verbs: &[(&str, &str, &str)]| {
        verbs.iter().map(|(group, resource, verb)| ((*group).into(), (*resource).into(), (*verb).into())).collect::<Vec<_>>()
    };
    let account = granted("deploy/base/rbac.yaml", "ClusterRole", "gangplank")?;
    let missing: Vec<_> = used(&verbs().collect::<Vec<_>>()).into_iter().filter(|right| !account.contains(right)).collect();
    assert!(missing.is_empty(), "used and not granted: {missing:?}");
    let lease = granted("deploy/second-scheduler/rbac.yaml", "Role", "gangplank-leader")?;
    let missing: Vec<_> = used(LEASE_VERBS).into_iter().filter(|right| !lease.contains(right)).collect();
    assert!(missing.is_empty(), "used and not granted: {missing:?}");
    Ok(())
}

/// How long a lease is good for without being renewed.
pub(crate) const LEASE_LASTS: Duration = Duration::from_secs(4);

/// A Lease as a kube-scheduler of this identity holds it; `turn` changes with every renewal.
pub(crate) async fn renew(leases: &Api<Lease>, holder: &str, turn: i32) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "gangplank-scheduler"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": LEASE_LASTS.as_secs(), "leaseTransitions": turn},
    });
    leases.patch("gangplank-scheduler", &PatchParams::apply("test").force(), &Patch::Apply(&lease)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_only_the_one_beside_the_leader_answers_and_an_outage_silences_both() -> Result<()> {
    let options = Options { nodes: 1, without: vec!["kube-scheduler"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("two replicas, one voice", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    let rights = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/second-scheduler/rbac.yaml"))?;
    apply_yaml(&client, "gangplank-system", &rights).await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), "gangplank-system");
    let replica = |name: &str| {
        Gangplank::start(&control_plane, &kubeconfig, &["--lease=gangplank-system/gangplank-scheduler", &format!("--identity={name}")])
    };
    let mut replicas = [replica("host-1")?, replica("host-2")?];
    for replica in &mut replicas {
        // Able to take over, and silent.
        replica.wait_ready().await?;
        assert_eq!(status_of_filter(replica).await?, 503);
    }
    for (turn, (holder, expected)) in
        [("host-1_a", [200, 503]), ("host-2_b", [503, 200]), ("host-20_c", [503, 503]), ("host-1_d", [200, 503])].into_iter().enumerate()
    {
        renew(&leases, holder, i32::try_from(turn)?).await?;
        let what = format!("{holder} to lead");
        let turned = wait_until(&what, TIMEOUT, async || {
            Ok(([status_of_filter(&mut replicas[0]).await?, status_of_filter(&mut replicas[1]).await?] == expected).then_some(()))
        });
        turned.await?;
    }
    // Nobody renews: the lease runs out by the replica's own clock.
    let began = Instant::now();
    wait_until("the voice to be lost", TIMEOUT, async || Ok((status_of_filter(&mut replicas[0]).await? == 503).then_some(()))).await?;
    assert!(began.elapsed() > Duration::from_secs(2), "lost after {:?}", began.elapsed());
    // Without the API server for long, not even readiness is claimed; with it, everything comes back.
    control_plane.signal("kube-apiserver", "STOP")?;
    let mut http = replicas[0].client().await?;
    let silent =
        wait_until("the outage to be noticed", TIMEOUT, async || Ok((http.get("/readyz").await?.status == 503).then_some(()))).await;
    control_plane.signal("kube-apiserver", "CONT")?;
    silent.with_context(|| replicas[0].log())?;
    replicas[0].wait_ready().await?;
    renew(&leases, "host-1_e", 9).await?;
    wait_until("the voice", TIMEOUT, async || Ok((status_of_filter(&mut replicas[0]).await? == 200).then_some(()))).await
}

async fn status_of_filter(gangplank: &mut Gangplank) -> Result<u16> {
    let pod = json!({"metadata": {"name": "x", "namespace": "y", "uid": "z"}, "spec": {}});
    let body = serde_json::to_vec(&json!({"Pod": pod, "NodeNames": ["a"]}))?;
    Ok(gangplank.client().await?.post("/scheduler/filter", &body).await?.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_ends_the_process_so_that_the_next_one_reads_it_anew() -> Result<()> {
    let options = Options { without: vec!["kube-scheduler", "kwok"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("a refused credential", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    let mut gangplank = Gangplank::start(&control_plane, &kubeconfig, &[])?;
    gangplank.wait_ready().await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "gangplank-system");
    accounts.delete("gangplank", &DeleteParams::default()).await?;
    let began = Instant::now();
    let address = gangplank.address();
    // On a busy machine the process may be gone before it is asked again.
    let unready = wait_until("readiness to end", TIMEOUT, async || {
        let ready = match HttpClient::open(address).await {
            Ok(mut http) => http.get("/readyz").await.is_ok_and(|reply| reply.status == 200),
            Err(_) => false,
        };
        Ok((!ready).then_some(()))
    });
    unready.await.with_context(|| gangplank.log())?;
    let unready_after = began.elapsed();
    let status = wait_until("the process to end", TIMEOUT, async || gangplank.has_ended()).await.with_context(|| gangplank.log())?;
    assert_eq!(status.code(), Some(1), "{}", gangplank.log());
    eprintln!("not ready after {unready_after:?}, ended after {:?}", began.elapsed());
    Ok(())
}
