//! The native pod groups of 1.36, alpha and off by default: how an extender is asked about their members.
//!
//! Gangplank plans gangs before they are let go; this is for clusters that have the gates on beside it. All of it waits
//! for `GANGPLANK_LONG=1`, for each test needs a control plane of its own.

mod gangs;

use std::time::Duration;

use anyhow::Result;

use self::gangs::{FEATURES, GATED, Gangs, MEMBERS, NODES, ZONE, seen};
use super::recorder::{Call, accept, refuse};
use super::scene::{TIMEOUT, say};
use crate::support::wait_until;

const QUIET: Duration = Duration::from_secs(2);

/// No begin, no end and no taking back: a member's questions look like any pod's, only that nobody is bound in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_gang_is_asked_about_once_a_member_and_bound_after_the_last() -> Result<()> {
    let test = "a native gang is asked about once a member";
    let Some(gangs) = Gangs::start_long(test, FEATURES, accept).await? else { return Ok(()) };
    gangs.create("whole", "", "").await?;
    gangs.wait_bound("whole").await?;
    tokio::time::sleep(QUIET).await;
    let calls = gangs.trace("whole");
    assert_eq!(seen(&calls, "filter"), vec![NODES; MEMBERS]);
    assert_eq!(seen(&calls, "prioritize"), vec![NODES; MEMBERS]);
    for pair in calls.chunks(2) {
        assert_eq!((pair[0].verb.as_str(), pair[1].verb.as_str()), ("filter", "prioritize"));
        assert_eq!(pair[0].pod, pair[1].pod, "the members' questions are mixed");
    }
    Ok(())
}

/// A refused member goes to the backoff queue, from which an idle scheduler takes pods early (`SchedulerPopFromBackoffQ`),
/// and unlike a single pod a member never rests. It is so for kube-scheduler's own refusals too. Where the gates of pod
/// groups are on, that one had better be off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_gang_with_a_refused_member_is_tried_without_a_pause_unless_an_idle_scheduler_leaves_the_backoff_be() -> Result<()> {
    let window = Duration::from_secs(6);
    let mut cycles = Vec::new();
    for (gate, pause) in [("SchedulerPopFromBackoffQ=true", false), ("SchedulerPopFromBackoffQ=false", true)] {
        let script = |call: &Call| match call.verb.as_str() {
            // Of the one gang every member, of the other the last.
            "filter" if call.pod.starts_with("none-") || call.pod == "torn-2" => {
                refuse(call, "FailedAndUnresolvableNodes", "no node has free devices")
            }
            _ => accept(call),
        };
        let gates = format!("{FEATURES},{gate}");
        let Some(gangs) = Gangs::start_long("a native gang with a refused member", &gates, script).await? else { return Ok(()) };
        for gang in ["none", "torn"] {
            gangs.create(gang, "", "").await?;
            tokio::time::sleep(window).await;
            let tries = gangs.recorder.calls_of("filter", &format!("{gang}-2")).len();
            say(&format!("{gang}, {gate}: {tries} tries in {window:?}"));
            assert_eq!(gangs.nodes_of(gang).await?, vec![None; MEMBERS], "{gang} is bound in part");
            gangs.delete(gang).await?;
            cycles.push((gang, pause, tries));
        }
        gangs.fill("", 5).await?;
        // Kube-scheduler's own lack of CPU: two members fit the last node.
        gangs.create("short", "", "").await?;
        tokio::time::sleep(window).await;
        let tries = gangs.recorder.calls().iter().filter(|call| call.pod.starts_with("short-")).count() / 2;
        say(&format!("short, {gate}: {tries} tries in {window:?}"));
        cycles.push(("short", pause, tries));
    }
    for (gang, pause, tries) in &cycles {
        assert!(if *pause { (1..=5).contains(tries) } else { *tries > 100 }, "{gang}: {cycles:?}");
    }
    Ok(())
}

/// The cycle of the members that are free by then binds nobody and takes their nominations away; patches sent side by side
/// do not arrive together either. Hence filter answers from the plan also when all the nodes are offered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_let_go_before_its_siblings_loses_its_nomination() -> Result<()> {
    let Some(gangs) = Gangs::start_long("a member let go before its siblings", FEATURES, accept).await? else { return Ok(()) };
    gangs.create("early", "", GATED).await?;
    for (member, node) in ["zone-b-00001", "zone-b-00001", "zone-c-00000"].iter().enumerate() {
        gangs.nominate(&format!("early-{member}"), node).await?;
    }
    gangs.ungate("early-0").await?;
    let pods = gangs.pods();
    wait_until("the nomination to be gone", TIMEOUT, async || {
        let nominated = pods.get("early-0").await?.status.and_then(|status| status.nominated_node_name);
        Ok(nominated.is_none_or(|node| node.is_empty()).then_some(()))
    })
    .await?;
    wait_until("a second try", TIMEOUT, async || Ok((gangs.recorder.calls_of("filter", "early-0").len() > 1).then_some(()))).await?;
    assert_eq!(gangs.nodes_of("early").await?, vec![None; MEMBERS]);
    gangs.ungate("early-1").await?;
    gangs.ungate("early-2").await?;
    gangs.wait_bound("early").await?;
    let calls = gangs.trace("early");
    let first: Vec<_> = seen(&calls, "filter").into_iter().take(2).collect();
    assert_eq!(first, [1, NODES], "asked about its nominated node alone, then about all");
    Ok(())
}

/// The last question about a member is not about the zone that is taken: whoever keeps what it answered last keeps the
/// wrong node. Only bind tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topology_constraint_asks_about_every_member_in_every_zone() -> Result<()> {
    let gates = format!("{FEATURES},TopologyAwareWorkloadScheduling=true");
    let Some(gangs) = Gangs::start_long("a topology constraint", &gates, accept).await? else { return Ok(()) };
    gangs.create("zoned", &format!(", schedulingConstraints: {{topology: [{{key: {ZONE}}}]}}"), "").await?;
    let nodes = gangs.wait_bound("zoned").await?;
    tokio::time::sleep(QUIET).await;
    let calls = gangs.trace("zoned");
    let filters: Vec<_> = calls.iter().filter(|call| call.verb == "filter").collect();
    assert_eq!(filters.len(), 3 * MEMBERS);
    for placement in filters.chunks(MEMBERS) {
        let zones: Vec<_> = placement.iter().flat_map(|call| &call.nodes).map(|node| &node[..6]).collect();
        assert!(zones.iter().all(|zone| *zone == zones[0]), "{zones:?}");
    }
    assert!(nodes.iter().all(|node| node[..6] == nodes[0][..6]), "{nodes:?}");
    Ok(())
}

/// Each guess at who could go is a whole round of questions about nodes that are not empty yet. An extender that counts
/// what runs there refuses them all, and then nobody goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workload_aware_preemption_guesses_by_filter_never_asks_preempt_and_gives_up_when_refused() -> Result<()> {
    let gates = format!("{FEATURES},WorkloadAwarePreemption=true,SchedulerPopFromBackoffQ=false");
    let script = |call: &Call| match (call.verb.as_str(), call.pod.starts_with("busy-")) {
        ("filter", true) => refuse(call, "FailedAndUnresolvableNodes", "no node has free devices"),
        _ => accept(call),
    };
    let Some(gangs) = Gangs::start_long("workload-aware preemption", &gates, script).await? else { return Ok(()) };
    gangs.fill("priorityClassName: facts-low, ", 5).await?;
    gangs.create("busy", "", "").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    gangs.trace("busy");
    assert_eq!(gangs.victims_left().await?, 5, "somebody had to go for a gang that the extender refuses");
    gangs.delete("busy").await?;
    gangs.create("short", "", "").await?;
    gangs.wait_bound("short").await?;
    gangs.trace("short");
    assert_eq!(gangs.victims_left().await?, 4);
    let verbs = gangs.recorder.calls();
    assert!(verbs.iter().all(|call| call.verb != "preempt"));
    Ok(())
}
