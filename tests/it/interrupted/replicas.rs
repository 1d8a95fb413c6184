//! Two replicas and one lease: the one that leads is paused in the middle of its work, loses the lease, and wakes up
//! while the other one works.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;

use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{MEMBERS, clear, create_gang, create_singles, times};
use crate::serve::{LEASE_LASTS, renew};
use crate::support::installed::{apply_file, assert_granted_once, install_account, managed_namespace, node_of};
use crate::support::{
    ControlPlane, Gangplank, Installed, NodeTemplate, Options, SecondScheduler, create_kwok_nodes, scheduler_config, wait_until,
};

/// 56 GPUs, and as many are asked for in each turn: who takes a device of somebody else's is seen.
const NODES: u32 = 7;
const GANGS: usize = 4;
const SINGLES: usize = 24;

/// A kube-scheduler and the Gangplank beside it.
struct Replica {
    name: &'static str,
    gangplank: Gangplank,
    scheduler: SecondScheduler,
}

impl Replica {
    async fn start(control_plane: &ControlPlane, kubeconfig: &std::path::Path, name: &'static str) -> Result<Self> {
        let arguments = ["--lease=gangplank-system/gangplank-scheduler", &format!("--identity={name}")];
        let mut gangplank = Gangplank::start(control_plane, kubeconfig, &arguments)?;
        gangplank.wait_ready().await?;
        let scheduler = SecondScheduler::start(control_plane, &scheduler_config(gangplank.address())?).await?;
        Ok(Self { name, gangplank, scheduler })
    }

    /// As a machine is paused: both at once.
    fn signal(&self, signal: &str) -> Result<()> {
        self.scheduler.signal(signal)?;
        self.gangplank.signal(signal)
    }
}

/// Renews the lease in the name of whoever holds it.
struct Keeper {
    holder: watch::Sender<Option<String>>,
    task: JoinHandle<()>,
}

impl Keeper {
    fn start(leases: Api<Lease>) -> Self {
        let holder = watch::Sender::new(None::<String>);
        let mut seen = holder.subscribe();
        let task = tokio::spawn(async move {
            for turn in 0.. {
                let name = seen.borrow_and_update().clone();
                if let Some(name) = name {
                    let _ = renew(&leases, &format!("{name}_x"), turn).await;
                }
                let _ = tokio::time::timeout(LEASE_LASTS / 8, seen.changed()).await;
            }
        });
        Self { holder, task }
    }

    fn is_held_by(&self, name: Option<&str>) {
        self.holder.send_replace(name.map(str::to_owned));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_paused_past_its_lease_and_wakes_up_grants_no_device_twice() -> Result<()> {
    let turns = times(50, 3);
    let Some(control_plane) = ControlPlane::start_or_skip("a leader paused past its lease", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, NODES, &NodeTemplate::default()).await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    apply_file(&client, "gangplank-system", "deploy/second-scheduler/rbac.yaml".as_ref()).await?;
    Installed::install(&client).await?;
    let keeper = Keeper::start(Api::namespaced(client.clone(), "gangplank-system"));
    keeper.is_held_by(Some("host-1"));
    let (mut leader, mut other) =
        (Replica::start(&control_plane, &kubeconfig, "host-1").await?, Replica::start(&control_plane, &kubeconfig, "host-2").await?);
    // A kube-scheduler without the lease does nothing.
    other.scheduler.signal("STOP")?;
    let namespace = managed_namespace(&client, "paused").await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let (mut at_pause, mut at_wake) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let logs = || format!("turn {turn}, {} led\n{}\n{}", leader.name, leader.gangplank.log(), other.gangplank.log());
        // It comes while the leader works, and goes on coming when it is paused.
        let coming = tokio::spawn(create_load(client.clone(), namespace.clone()));
        let enough = turn * 7 % 30;
        wait_until("the leader to bind", Duration::from_mins(1), async || Ok((bound(&pods).await? >= enough).then_some(())))
            .await
            .with_context(logs)?;
        leader.signal("STOP")?;
        at_pause.push(bound(&pods).await?);
        keeper.is_held_by(None);
        coming.await??;
        tokio::time::sleep(LEASE_LASTS).await;
        keeper.is_held_by(Some(other.name));
        other.scheduler.signal("CONT")?;
        create_gang(&client, &namespace, "gang-late").await?;
        create_singles(&pods, "late", SINGLES / 2).await?;
        // The old leader wakes up before, while and after the new one begins.
        tokio::time::sleep(Duration::from_millis(turn as u64 * 331 % 2500)).await;
        at_wake.push(bound(&pods).await?);
        leader.signal("CONT")?;
        let all = MEMBERS * GANGS + SINGLES;
        // A kube-scheduler that lost the lease ends; this one has a moment in which it did not notice.
        tokio::time::sleep(Duration::from_secs(1)).await;
        leader.scheduler.signal("STOP")?;
        let whole = wait_until("all to be bound", Duration::from_mins(1), async || Ok((bound(&pods).await? == all).then_some(()))).await;
        whole.with_context(logs)?;
        clear(&client, &namespace).await?;
        std::mem::swap(&mut leader, &mut other);
    }
    let all = MEMBERS * GANGS + SINGLES;
    eprintln!(
        "{turns} leaders paused for {LEASE_LASTS:?} and longer; of {all} pods were bound at the pause {at_pause:?}, when it woke {at_wake:?}"
    );
    ensure!(at_wake.iter().any(|bound| *bound < all), "never was there work left when the old leader woke up");
    other.scheduler.signal("CONT")?;
    Ok(())
}

async fn create_load(client: Client, namespace: String) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for gang in 0..GANGS - 1 {
        create_gang(&client, &namespace, &format!("gang-{gang}")).await?;
        create_singles(&pods, &format!("early-{gang}"), SINGLES / 2 / (GANGS - 1)).await?;
    }
    Ok(())
}

/// How many pods are bound, on no device more than one of them.
async fn bound(pods: &Api<Pod>) -> Result<usize> {
    let pods = pods.list(&ListParams::default()).await?.items;
    assert_granted_once(&pods);
    Ok(pods.iter().filter(|pod| node_of(pod).is_some()).count())
}
