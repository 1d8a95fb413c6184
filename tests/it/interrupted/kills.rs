//! SIGKILL between any two bindings of a gang's members.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::turnstile::Turnstile;
use super::{MEMBERS, WHOLE_WITHIN, bound, clear, create_gang, create_singles, gang_of, times};
use crate::support::installed::{assert_granted_once, install_account, managed_namespace};
use crate::support::{
    ControlPlane, Gangplank, Installed, NodeTemplate, Options, SecondScheduler, create_kwok_nodes, scheduler_config, wait_until,
};

/// 80 GPUs: nine gangs of eight, and eight for others.
const NODES: u32 = 10;
/// There is room for so many beside the gangs.
const SINGLES: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Gangplank,
    Scheduler,
}

/// When it is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nine gangs stand at the nine points at once: of the first none is bound, of the last all eight.
    Bindings,
    /// As soon as the first of all their gates is off.
    Gates,
}

impl Moment {
    /// Pods that come while it is gone. What a gang that was promised its places loses, the surplus takes; a gang that was
    /// not promised any may have to wait for its turn like everybody else.
    fn singles(self) -> usize {
        match self {
            Self::Bindings => SINGLES + SINGLES / 2,
            Self::Gates => SINGLES,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_gates_come_off_it_completes_the_gangs() -> Result<()> {
    interrupt("killed while gates come off", Victim::Gangplank, Moment::Gates, times(25, 2)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_any_two_bindings_of_a_gang_it_completes_the_gang() -> Result<()> {
    interrupt("killed between bindings", Victim::Gangplank, Moment::Bindings, times(50, 2)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_kube_scheduler_killed_between_any_two_bindings_of_a_gang_the_gang_is_completed() -> Result<()> {
    interrupt("kube-scheduler killed between bindings", Victim::Scheduler, Moment::Bindings, times(50, 2)).await
}

async fn interrupt(test: &str, victim: Victim, moment: Moment, rounds: usize) -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip(test, &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, NODES, &NodeTemplate::default()).await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    Installed::install(&client).await?;
    let mut gangplank = Gangplank::start(&control_plane, &kubeconfig, &[])?;
    gangplank.wait_ready().await?;
    let port = gangplank.address().port();
    let turnstile = Turnstile::start(gangplank.address()).await?;
    let config = scheduler_config(turnstile.address())?;
    let mut scheduler = SecondScheduler::start(&control_plane, &config).await?;
    let namespace = managed_namespace(&client, "interrupted").await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let (mut at_kill, mut torn, mut whole_after) = (BTreeMap::<usize, usize>::new(), 0, Vec::new());
    for round in 0..rounds {
        if moment == Moment::Bindings {
            turnstile.close((0..=MEMBERS).map(|point| (format!("gang-{point}"), point)));
        }
        for point in 0..=MEMBERS {
            create_gang(&client, &namespace, &format!("gang-{point}")).await?;
        }
        match moment {
            Moment::Gates => a_gate_is_off(&pods).await?,
            Moment::Bindings => {
                all_stand(&turnstile).await.with_context(|| format!("round {round}:\n{}", gangplank.log()))?;
                // In every second round more bindings of each gang are under way.
                if round % 2 == 1 {
                    turnstile.open();
                    tokio::time::sleep(Duration::from_millis(round as u64 % 5 * 10)).await;
                }
            }
        }
        // A signal to the process; what is left of it is reaped below.
        match victim {
            Victim::Gangplank => gangplank.signal("KILL")?,
            Victim::Scheduler => scheduler.signal("KILL")?,
        }
        torn += count(&mut at_kill, &pods).await?;
        turnstile.turn_away();
        create_singles(&pods, "single", moment.singles()).await?;
        let began = Instant::now();
        match victim {
            Victim::Gangplank => {
                gangplank.kill()?;
                gangplank = Gangplank::start_at(&control_plane, &kubeconfig, port, &[])?;
            }
            Victim::Scheduler => {
                scheduler.kill()?;
                scheduler = SecondScheduler::start(&control_plane, &config).await?;
            }
        }
        all_whole(&pods).await.with_context(|| format!("round {round}:\n{}", gangplank.log()))?;
        whole_after.push(began.elapsed().as_millis());
        nobody_failed(&client, &namespace).await?;
        clear(&client, &namespace).await?;
    }
    whole_after.sort_unstable();
    let _ = writeln!(
        std::io::stderr(),
        "{test}: {rounds} kills, gangs by bound members at the kill {at_kill:?}, {torn} with some gates off and some not; all whole after {} to {} ms, median {}",
        whole_after[0],
        whole_after[whole_after.len() - 1],
        whole_after[whole_after.len() / 2]
    );
    // The rounds without bindings under way are exact.
    let exact = moment == Moment::Bindings;
    ensure!(exact || rounds < 10 || torn > 0, "never were some gates off and some not");
    let every = at_kill.len() == MEMBERS + 1 && at_kill.values().all(|times| *times >= rounds / 2);
    ensure!(!exact || every, "every point was hit: {at_kill:?}");
    Ok(())
}

/// Counts the gangs by how many members are bound. How many gangs have some gates off, and some not?
async fn count(at_kill: &mut BTreeMap<usize, usize>, pods: &Api<Pod>) -> Result<usize> {
    let pods = pods.list(&ListParams::default()).await?.items;
    let found = gangs(&pods);
    for bound in found.values() {
        *at_kill.entry(*bound).or_default() += 1;
    }
    let has = |gang: &str, gated| pods.iter().any(|pod| gang_of(&pod.name_any()) == gang && is_gated(pod) == gated);
    Ok(found.keys().filter(|gang| has(gang, true) && has(gang, false)).count())
}

fn is_gated(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()))
}

async fn all_stand(turnstile: &Turnstile) -> Result<()> {
    let full = async || Ok(turnstile.is_full(MEMBERS).then_some(()));
    let stand = wait_until("every gang to stand at its point", Duration::from_mins(1), full).await;
    stand.with_context(|| format!("{:?}", turnstile.passed()))
}

async fn a_gate_is_off(pods: &Api<Pod>) -> Result<()> {
    let off = async {
        while pods.list(&ListParams::default()).await?.items.iter().all(is_gated) {}
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_mins(1), off).await.context("no gate came off")?
}

fn gangs(pods: &[Pod]) -> BTreeMap<String, usize> {
    let mut bound = bound(pods);
    bound.retain(|gang, _| gang.starts_with("gang-"));
    bound
}

/// All nine gangs are whole in time, and on no device is more than one pod, from the first binding on.
async fn all_whole(pods: &Api<Pod>) -> Result<()> {
    let mut last = BTreeMap::new();
    let whole = wait_until("every gang to be whole", WHOLE_WITHIN, async || {
        let pods = pods.list(&ListParams::default()).await?.items;
        assert_granted_once(&pods);
        last = gangs(&pods);
        Ok((last.len() == MEMBERS + 1 && last.values().all(|bound| *bound == MEMBERS)).then_some(()))
    })
    .await;
    whole.with_context(|| format!("{last:?}"))
}

/// A gang that was completed was not begun anew.
async fn nobody_failed(client: &Client, namespace: &str) -> Result<()> {
    for job in Api::<Job>::namespaced(client.clone(), namespace).list(&ListParams::default()).await? {
        let (name, status) = (job.name_any(), job.status.unwrap_or_default());
        ensure!(status.failed.unwrap_or_default() == 0, "{name}: {status:?}");
    }
    Ok(())
}
