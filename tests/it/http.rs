//! The HTTP server over a cluster in memory: what callers may do to it, and what must stay true whatever they do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use futures::future::join_all;
use gangplank::api::{self, ServeLimits};
use gangplank::engine::{BindOrder, Engine, PodRef};
use gangplank::host::{BindLimits, BindWrite, Binder, Part, ReplayReport, Writer as _, replay};
use gangplank::model::{Amount, ContainerGrant, DeviceShare, Grant, PodKey};
use gangplank::policy::{Profile, ProfileText};
use gangplank::wire::extender::{BindRequest, client};
use gangplank::wire::{PodObject, annotations};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Fault, HttpClient, MemoryCluster, MemoryOptions, MemoryServer, MemoryWriter};

const VERBS: [&str; 4] = ["filter", "prioritize", "preempt", "bind"];

fn one_gpu() -> Value {
    json!({"nvidia.com/gpu": "1"})
}

fn filter_body(pod: &Value, names: &[&str]) -> Vec<u8> {
    serde_json::to_vec(&json!({"Pod": pod, "Nodes": null, "NodeNames": names})).expect("JSON")
}

fn bind_body(name: &str, uid: &str, node: &str) -> Vec<u8> {
    client::render_bind_request(&BindRequest { key: PodKey::new("default", name), uid: uid.into(), node: node.into() })
}

/// Device ids by node, each with the pod that has it: from the stored objects, not from the book.
fn grants(pods: &[PodObject]) -> BTreeMap<(String, String), Vec<String>> {
    let mut grants: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for pod in pods {
        let (Some(node), Some(devices)) = (&pod.spec.node_name, pod.annotation(annotations::DEVICES)) else { continue };
        for device in annotations::parse_devices(devices).expect("our own record").into_iter().flat_map(|container| container.devices) {
            let id = device.device.expect("every device of these nodes has a name");
            grants.entry((node.clone(), id.to_string())).or_default().push(pod.metadata.name.clone().unwrap_or_default());
        }
    }
    grants
}

fn assert_granted_once(cluster: &MemoryCluster) {
    for (device, holders) in grants(&cluster.pods()) {
        assert_eq!(holders.len(), 1, "{device:?} is granted to {holders:?}");
    }
}

/// Everything that is not a question: status, and what the text must say.
fn broken_bodies() -> Vec<(&'static str, Vec<u8>, u16)> {
    let mut deep = b"[".repeat(100_000);
    deep.extend(b"]".repeat(100_000));
    let deep_inside =
        format!("{{\"Pod\":{{\"metadata\":{{\"name\":{}1{}}}}},\"NodeNames\":[]}}", "[".repeat(500), "]".repeat(500)).into_bytes();
    vec![
        ("empty", Vec::new(), 400),
        ("blank", b"   ".to_vec(), 400),
        ("truncated", br#"{"Pod":{"metadata":{"name":"a""#.to_vec(), 400),
        ("not JSON", b"apiVersion: v1".to_vec(), 400),
        ("not UTF-8", b"{\"Pod\":\"\xff\xfe\"}".to_vec(), 400),
        ("9 MiB", vec![b' '; 9 << 20], 413),
        // From here on it is JSON: a verb whose reply has an Error says so with 200.
        ("deep nesting", deep, 0),
        ("deep nesting in a field", deep_inside, 0),
        ("an array", b"[]".to_vec(), 0),
        ("a string", b"\"filter\"".to_vec(), 0),
        ("null", b"null".to_vec(), 0),
        ("wrong types", br#"{"Pod":7,"NodeNames":"a","PodName":[],"NodeNameToMetaVictims":1}"#.to_vec(), 0),
        ("an empty object", b"{}".to_vec(), 0),
        ("no nodes at all", br#"{"Pod":{"metadata":{"name":"a","namespace":"b","uid":"c"}},"Nodes":null,"NodeNames":null}"#.to_vec(), 0),
    ]
}

#[tokio::test]
async fn broken_input_gets_an_answer_and_changes_nothing() -> Result<()> {
    let server = MemoryServer::start(MemoryOptions { nodes: 2, ..MemoryOptions::default() }).await?;
    let pod = server.cluster.create("default", "a", "u-a", &one_gpu());
    let digest = server.host.look(Engine::digest);
    for verb in VERBS {
        let path = format!("/scheduler/{verb}");
        for (what, body, status) in broken_bodies() {
            let mut http = HttpClient::open(server.address).await?;
            let reply = http.post(&path, &body).await.with_context(|| format!("{verb}: {what}"))?;
            let has_error_field = matches!(verb, "filter" | "bind");
            let expected = match status {
                0 if has_error_field => 200,
                0 => 400,
                status => status,
            };
            assert_eq!(reply.status, expected, "{verb}: {what}: {}", reply.text());
            let answer: Value = serde_json::from_slice(&reply.body).with_context(|| format!("{verb}: {what}: {}", reply.text()))?;
            let error = if expected == 200 { &answer["Error"] } else { &answer["error"] };
            assert!(error.as_str().is_some_and(|error| !error.is_empty()), "{verb}: {what}: {answer}");
        }
        let mut http = HttpClient::open(server.address).await?;
        let body = filter_body(&pod, &["n0000"]);
        let wrong_type = http.call("POST", &path, "Content-Type: text/plain\r\n", &body).await?;
        assert_eq!(wrong_type.status, 415, "{verb}");
        let mut http = HttpClient::open(server.address).await?;
        assert_eq!(http.call("POST", &path, "", &body).await?.status, 415, "{verb}: no type");
        let mut http = HttpClient::open(server.address).await?;
        let get = http.get(&path).await?;
        assert_eq!((get.status, get.head.contains("allow: post")), (405, true), "{verb}: {}", get.head);
    }
    let mut http = HttpClient::open(server.address).await?;
    let unknown = http.post("/scheduler/evict", b"{}").await?;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("filter, prioritize, preempt, bind"), "{}", unknown.text());
    assert_eq!(http.get("/nothing").await?.status, 404);
    assert_eq!(server.host.look(Engine::digest), digest);
    assert_eq!(server.host.look(|engine| engine.book().holders().count()), 0, "no hold was left behind");
    // And the next question is answered as if nothing had been.
    let reply = http.post("/scheduler/filter", &filter_body(&pod, &["n0000", "nowhere"])).await?;
    let answer = client::parse_filter_response(&reply.body)?;
    assert_eq!(answer.node_names, Some(vec!["n0000".to_owned()]), "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn nodes_that_nobody_knows_are_refused_for_good_and_never_returned() -> Result<()> {
    let server = MemoryServer::start(MemoryOptions { nodes: 1, ..MemoryOptions::default() }).await?;
    let pod = server.cluster.create("default", "a", "u-a", &one_gpu());
    let mut http = HttpClient::open(server.address).await?;
    let reply = http.post("/scheduler/filter", &filter_body(&pod, &["nowhere", "elsewhere"])).await?;
    let answer = client::parse_filter_response(&reply.body)?;
    assert!(answer.node_names.unwrap_or_default().is_empty(), "{}", reply.text());
    assert_eq!(answer.failed_and_unresolvable_nodes.unwrap_or_default().len(), 2, "{}", reply.text());
    let bind = http.post("/scheduler/bind", &bind_body("a", "u-a", "nowhere")).await?;
    assert!(!client::parse_bind_response(&bind.body)?.error.is_empty());
    assert_eq!(server.cluster.writes(), 0);
    Ok(())
}

#[tokio::test]
async fn without_lists_contact_or_voice_it_answers_503_and_says_what_it_waits_for() -> Result<()> {
    let server = MemoryServer::start(MemoryOptions { nodes: 1, ..MemoryOptions::default() }).await?;
    let pod = server.cluster.create("default", "a", "u-a", &one_gpu());
    let mut http = HttpClient::open(server.address).await?;
    for (part, text, ready) in
        [(Part::Lists, "the first list of pods", 503), (Part::Contact, "the API server", 503), (Part::Voice, "the lease", 200)]
    {
        server.host.wait_for(part, Some(text.into()));
        for (verb, body) in [("filter", filter_body(&pod, &["n0000"])), ("bind", bind_body("a", "u-a", "n0000"))] {
            let reply = http.post(&format!("/scheduler/{verb}"), &body).await?;
            assert_eq!(reply.status, 503, "{verb} without {part:?}");
            assert!(reply.text().contains(text), "{}", reply.text());
        }
        // A silent replica is able to take over, and rolling updates wait for that alone.
        assert_eq!(http.get("/readyz").await?.status, ready, "{part:?}");
        server.host.wait_for(part, None);
        assert_eq!(http.post("/scheduler/filter", &filter_body(&pod, &["n0000"])).await?.status, 200);
    }
    Ok(())
}

async fn one_client(server: &MemoryServer, seed: u64, pods: u32, names: &[String]) -> Result<(u32, u32)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut http = HttpClient::open(server.address).await?;
    let (mut calls, mut bound) = (0, 0);
    for number in 0..pods {
        let (name, uid) = (format!("p{seed}-{number}"), format!("u-{seed}-{number}"));
        let limits = json!({"nvidia.com/gpu": random.random_range(1..=4_u32).to_string()});
        let pod = server.cluster.create("default", &name, &uid, &limits);
        let offered: Vec<&str> = (0..8)
            .map(|_| names[random.random_range(0..names.len())].as_str())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let reply = http.post("/scheduler/filter", &filter_body(&pod, &offered)).await?;
        calls += 1;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let passed = client::parse_filter_response(&reply.body)?.node_names.unwrap_or_default();
        let Some(node) = passed.first().cloned() else {
            server.cluster.delete("default", &name);
            continue;
        };
        assert!(offered.contains(&node.as_str()));
        // Now and then to a node that the filter did not choose, twice, or to none at all.
        let to = if random.random_bool(0.1) { offered[0].to_owned() } else { node };
        for _ in 0..=u32::from(random.random_bool(0.1)) {
            let reply = http.post("/scheduler/bind", &bind_body(&name, &uid, &to)).await?;
            calls += 1;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        if server.cluster.pod("default", &name).is_some_and(|pod| pod.spec.node_name.is_some()) {
            bound += 1;
        }
        if random.random_bool(0.7) {
            server.cluster.delete("default", &name);
        }
    }
    Ok((calls, bound))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_at_once_are_never_granted_the_same_device() -> Result<()> {
    const CLIENTS: u32 = 64;
    let calls_wanted = if std::env::var_os("GANGPLANK_LONG").is_some() { 100_000 } else { 10_000 };
    let server = MemoryServer::start(MemoryOptions { nodes: 40, ..MemoryOptions::default() }).await?;
    let names: Vec<String> = (0..40).map(|index| format!("n{index:04}")).collect();
    let began = Instant::now();
    let (mut calls, mut bound, mut round) = (0, 0, 0);
    while calls < calls_wanted {
        let clients = join_all((0..CLIENTS).map(|client| one_client(&server, u64::from(round * CLIENTS + client), 16, &names)));
        for outcome in clients.await {
            let (called, held) = outcome?;
            (calls, bound) = (calls + called, bound + held);
        }
        assert_granted_once(&server.cluster);
        assert_eq!(server.cluster.granted_twice(), Vec::<String>::new());
        for pod in server.cluster.pods() {
            server.cluster.delete("default", &pod.metadata.name.unwrap_or_default());
        }
        round += 1;
    }
    assert!(bound > calls / 8, "{bound} of {calls} calls bound a pod: the test has lost its teeth");
    eprintln!("{calls} calls, {bound} pods bound, in {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_binding_whose_answer_is_lost_is_found_and_one_that_nobody_knows_of_keeps_its_devices() -> Result<()> {
    let bind = BindLimits { deadline: Duration::from_millis(400), call: Duration::from_millis(100), ..BindLimits::default() };
    let server = MemoryServer::start(MemoryOptions { nodes: 1, bind, ..MemoryOptions::default() }).await?;
    let mut http = HttpClient::open(server.address).await?;
    let faults: [(&str, &[Fault], bool); 6] = [
        ("lost answer", &[Fault::AnswerLost], true),
        ("lost request", &[Fault::RequestLost, Fault::None], true),
        ("throttled", &[Fault::Throttled, Fault::Throttled], true),
        ("changed meanwhile", &[Fault::Conflict], true),
        ("all at once", &[Fault::Conflict, Fault::RequestLost, Fault::Throttled, Fault::AnswerLost], true),
        ("silence", &[Fault::RequestLost; 64], false),
    ];
    for (number, (what, planned, bound)) in faults.into_iter().enumerate() {
        let (name, uid) = (format!("p{number}"), format!("u{number}"));
        server.cluster.create("default", &name, &uid, &one_gpu());
        server.cluster.plan_faults(planned);
        let reply = http.post("/scheduler/bind", &bind_body(&name, &uid, "n0000")).await?;
        let error = client::parse_bind_response(&reply.body)?.error;
        assert_eq!(error.is_empty(), bound, "{what}: {error}");
        assert_eq!(server.cluster.pod("default", &name).unwrap().spec.node_name.is_some(), bound, "{what}");
    }
    server.cluster.plan_faults(&[]);
    assert_eq!(server.cluster.writes(), 5, "one write a pod");
    // 5 bound and 1 unknown: two of eight are free, whatever the silent one's fate.
    server.cluster.create("default", "three", "u-three", &json!({"nvidia.com/gpu": "3"}));
    let refused = http.post("/scheduler/bind", &bind_body("three", "u-three", "n0000")).await?;
    assert!(!client::parse_bind_response(&refused.body)?.error.is_empty(), "its devices may be in use any moment");
    // A write that lands when nobody waits any more finds its devices kept.
    server.cluster.create("default", "late", "u-late", &one_gpu());
    server.cluster.plan_faults(&[
        Fault::LandsLate(Duration::from_millis(700)),
        Fault::RequestLost,
        Fault::RequestLost,
        Fault::RequestLost,
        Fault::RequestLost,
        Fault::RequestLost,
        Fault::RequestLost,
    ]);
    let late = http.post("/scheduler/bind", &bind_body("late", "u-late", "n0000")).await?;
    assert!(client::parse_bind_response(&late.body)?.error.contains("no clear answer"), "{}", late.text());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(server.cluster.pod("default", "late").unwrap().spec.node_name.is_some());
    server.cluster.plan_faults(&[]);
    // The scheduler tries the silent one again: the devices it was held for are written at last.
    let again = http.post("/scheduler/bind", &bind_body("p5", "u5", "n0000")).await?;
    assert_eq!(client::parse_bind_response(&again.body)?.error, "");
    assert_granted_once(&server.cluster);
    assert_eq!(grants(&server.cluster.pods()).len(), 7);
    Ok(())
}

#[tokio::test]
async fn what_a_process_before_this_one_sent_in_its_last_moment_is_seen_before_anything_is_bound() -> Result<()> {
    let bind = BindLimits { settle: Duration::from_millis(400), ..BindLimits::default() };
    let server = MemoryServer::start(MemoryOptions { nodes: 1, bind, ..MemoryOptions::default() }).await?;
    for name in ["before", "after"] {
        server.cluster.create("default", name, &format!("u-{name}"), &one_gpu());
    }
    let device = DeviceShare { resource: "nvidia.com/gpu".into(), device: Some("0".into()), amount: Amount::Whole };
    let grant = Grant { node: "n0000".into(), containers: vec![ContainerGrant { container: "main".into(), devices: vec![device] }] };
    let pod = PodRef { key: PodKey::new("default", "before"), uid: "u-before".into() };
    let write = BindWrite { order: BindOrder { pod, grant, env: Vec::new() }, resource_version: "1".into() };
    server.cluster.plan_faults(&[Fault::LandsLate(Duration::from_millis(100))]);
    let writer = MemoryWriter(server.cluster.clone());
    let killed = tokio::time::timeout(Duration::from_millis(1), writer.bind(&write)).await;
    assert!(killed.is_err());
    let mut http = HttpClient::open(server.address).await?;
    let reply = http.post("/scheduler/bind", &bind_body("after", "u-after", "n0000")).await?;
    assert_eq!(client::parse_bind_response(&reply.body)?.error, "");
    assert_granted_once(&server.cluster);
    assert_eq!(grants(&server.cluster.pods()).len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_bind_that_sleeps_past_the_lease_writes_nothing_and_holds_nothing() -> Result<()> {
    // However long that is, it waits for half of its own time.
    let bind = BindLimits { settle: Duration::from_secs(60), ..BindLimits::default() };
    let server = MemoryServer::start(MemoryOptions { nodes: 1, bind, ..MemoryOptions::default() }).await?;
    server.cluster.create("default", "p", "u", &one_gpu());
    let mut http = HttpClient::open(server.address).await?;
    let body = bind_body("p", "u", "n0000");
    let runs_out = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.host.voice_lasts(Some(tokio::time::Instant::now()));
    };
    let (reply, ()) = tokio::join!(http.post("/scheduler/bind", &body), runs_out);
    let reply = reply?;
    assert!(reply.status == 503 && reply.text().contains("run out"), "{} {}", reply.status, reply.text());
    assert!(grants(&server.cluster.pods()).is_empty());
    assert_eq!(server.host.look(|engine| engine.book().holders().count()), 0);
    server.host.wait_for(Part::Voice, None);
    let again = http.post("/scheduler/bind", &body).await?;
    assert_eq!(client::parse_bind_response(&again.body)?.error, "");
    assert_eq!(grants(&server.cluster.pods()).len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_hold_for_a_pod_that_is_gone_ends_when_bind_does_not_find_it_and_not_on_anybodys_word() -> Result<()> {
    let server = MemoryServer::start(MemoryOptions { nodes: 1, ..MemoryOptions::default() }).await?;
    let mut http = HttpClient::open(server.address).await?;
    let holders = || server.host.look(|engine| engine.book().holders().count());
    let pod = server.cluster.create("default", "p", "u-1", &one_gpu());
    server.cluster.delete("default", "p");
    server.cluster.create("default", "p", "u-2", &one_gpu());
    assert_eq!(http.post("/scheduler/filter", &filter_body(&pod, &["n0000"])).await?.status, 200);
    assert_eq!(holders(), 1, "kube-scheduler has not heard yet, the watch has nothing more to say");
    http.post("/scheduler/bind", &bind_body("nobody", "u-1", "n0000")).await?;
    assert_eq!(holders(), 1, "a name that the pod never had says nothing of it");
    http.post("/scheduler/bind", &bind_body("p", "u-1", "n0000")).await?;
    assert_eq!(holders(), 0);
    Ok(())
}

/// Pods of several kinds come, are bound and partly go; returns what filter and prioritize answered.
async fn play(server: &MemoryServer, numbers: std::ops::Range<u32>) -> Result<Vec<Vec<u8>>> {
    let names: Vec<String> = (0..6).map(|index| format!("n{index:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut http = HttpClient::open(server.address).await?;
    let mut replies = Vec::new();
    for number in numbers {
        let (name, uid) = (format!("p{number}"), format!("u{number}"));
        let limits = match number % 4 {
            0 => json!({"gangplank.dev/gpu-milli": "300"}),
            1 => json!({"nvidia.com/gpu": "5"}),
            _ => one_gpu(),
        };
        let pod = server.cluster.create("default", &name, &uid, &limits);
        let reply = http.post("/scheduler/filter", &filter_body(&pod, &names)).await?;
        let passed = client::parse_filter_response(&reply.body)?.node_names.unwrap_or_default();
        replies.push(reply.body);
        replies.push(http.post("/scheduler/prioritize", &filter_body(&pod, &names)).await?.body);
        if let Some(node) = passed.first() {
            http.post("/scheduler/bind", &bind_body(&name, &uid, node)).await?;
        }
        if number % 7 == 0 {
            server.cluster.delete("default", &name);
        }
        server.host.tick();
    }
    Ok(replies)
}

/// Ends the server, and replays its journal under the profile that it began with.
async fn replayed(server: MemoryServer, path: &Path, replies: &[Vec<u8>]) -> Result<ReplayReport> {
    let digest = server.host.look(Engine::digest);
    // The last owner of the journal closes its file.
    let host = server.stop().await;
    drop(host);
    let settled = async {
        loop {
            let report = replay(Arc::new(Profile::shipped()), BufReader::new(File::open(path)?))?;
            if report.replies.len() >= replies.len() && report.digest == digest {
                return Ok::<_, anyhow::Error>(report);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let report = tokio::time::timeout(Duration::from_secs(10), settled).await.context("the journal never became whole")??;
    assert_eq!(report.replies, replies);
    assert_eq!((report.missing, report.differing.as_slice()), (0, &[][..]));
    assert!(report.compared >= 100, "{} answers compared", report.compared);
    Ok(report)
}

#[tokio::test]
async fn a_recorded_run_is_replayed_to_the_same_answers_byte_for_byte() -> Result<()> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{}.jsonl", std::process::id()));
    let server = MemoryServer::start(MemoryOptions { nodes: 6, journal: Some(path.clone()), ..MemoryOptions::default() }).await?;
    let replies = play(&server, 0..40).await?;
    replayed(server, &path, &replies).await?;
    // A journal that was tampered with is noticed.
    let text = std::fs::read_to_string(&path)?;
    let tampered = text.replacen(r#"\"nvidia.com/gpu\":\"5\""#, r#"\"nvidia.com/gpu\":\"4\""#, 2);
    assert_ne!(text, tampered);
    assert!(!replay(Arc::new(Profile::shipped()), tampered.as_bytes())?.differing.is_empty());
    std::fs::remove_file(&path)?;
    Ok(())
}

#[tokio::test]
async fn a_run_whose_profile_changed_and_that_worked_ahead_is_replayed_too() -> Result<()> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-profiles-{}.jsonl", std::process::id()));
    let server = MemoryServer::start(MemoryOptions { nodes: 6, journal: Some(path.clone()), ..MemoryOptions::default() }).await?;
    let mut replies = play(&server, 0..20).await?;
    let (head, tail) = Profile::DEFAULT_YAML.split_once("weights:").context("weights")?;
    let (_, tail) = tail.split_once("accelerators:").context("accelerators")?;
    let mut steps_ahead = 0;
    for (weights, numbers) in [("offered-value: 1", 20..40), ("spread: 1", 40..50), ("fragmentation: 1, offered-value: 1", 50..60)] {
        let yaml = format!("{head}weights: {{{weights}}}\n\naccelerators:{tail}");
        server.host.replace_profiles(&[ProfileText { file: "changed.yaml".into(), yaml: yaml.into() }])?;
        for number in numbers {
            replies.extend(play(&server, number..number + 1).await?);
            steps_ahead += 1;
            while server.host.prepare() {
                steps_ahead += 1;
            }
        }
    }
    let report = replayed(server, &path, &replies).await?;
    let text = std::fs::read_to_string(&path)?;
    let lines = text.lines().count() as u64;
    assert!(text.contains("profiles-replaced") && steps_ahead > 40);
    assert!(report.entries > lines, "{} inputs in {lines} lines, {steps_ahead} of them ahead", report.entries);
    // Without the change, answers differ.
    let unchanged: Vec<&str> = text.lines().filter(|line| !line.contains("profiles-replaced")).collect();
    let report = replay(Arc::new(Profile::shipped()), unchanged.join("\n").as_bytes())?;
    assert!(report.missing == 3 && !report.differing.is_empty());
    std::fs::remove_file(&path)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_connections_give_way_to_those_who_ask() -> Result<()> {
    let serve = ServeLimits { connections_max: 32, ..ServeLimits::default() };
    let server = MemoryServer::start(MemoryOptions { nodes: 1, serve, ..MemoryOptions::default() }).await?;
    let pod = server.cluster.create("default", "a", "u-a", &one_gpu());
    let body = filter_body(&pod, &["n0000"]);
    let mut good = HttpClient::open(server.address).await?;
    assert_eq!(good.post("/scheduler/filter", &body).await?.status, 200);
    let mut slow = Vec::new();
    let mut worst = Duration::ZERO;
    for number in 0..200 {
        let mut http = HttpClient::open(server.address).await?;
        if number % 2 == 0 {
            http.send(b"POST /scheduler/filter HTTP/1.1\r\nHost: x\r\n").await?;
        }
        slow.push(http);
        let began = Instant::now();
        assert_eq!(good.post("/scheduler/filter", &body).await.context("the good connection was closed")?.status, 200);
        worst = worst.max(began.elapsed());
    }
    assert!(worst < Duration::from_secs(2), "kube-scheduler would have given up: {worst:?}");
    // A head that was begun must become whole; a connection that is merely idle may stay.
    let mut idle = HttpClient::open(server.address).await?;
    assert_eq!(idle.get("/healthz").await?.status, 200);
    let mut begun = HttpClient::open(server.address).await?;
    begun.send(b"POST /scheduler/filter HT").await?;
    assert!(begun.is_closed_within(Duration::from_secs(8)).await, "a begun head stays open");
    // kube-scheduler closes what is idle for 90 s; a question that met a connection that we closed first would be lost.
    if std::env::var_os("GANGPLANK_LONG").is_some() {
        tokio::time::sleep(Duration::from_secs(95)).await;
    }
    assert_eq!(idle.get("/healthz").await?.status, 200, "an idle connection was closed");
    Ok(())
}

#[tokio::test]
async fn the_address_of_probes_and_prometheus_names_no_pod_and_takes_no_question() -> Result<()> {
    let server = MemoryServer::start(MemoryOptions { nodes: 1, ..MemoryOptions::default() }).await?;
    let pod = server.cluster.create("default", "secretive", "uid-secretive", &one_gpu());
    let mut http = HttpClient::open(server.address).await?;
    assert_eq!(http.post("/scheduler/filter", &filter_body(&pod, &["n0000"])).await?.status, 200);
    let binder = Binder::new(server.host.clone(), Arc::new(MemoryWriter(server.cluster.clone())), BindLimits::default());
    let observer = api::Api { host: server.host.clone(), binder }.observer();
    let ask = async |method: Method, path: &str| -> Result<(u16, String)> {
        let request = Request::builder().method(method).uri(path).body(Body::from(filter_body(&pod, &["n0000"])))?;
        let response = observer.clone().oneshot(request).await?;
        let status = response.status().as_u16();
        Ok((status, String::from_utf8(to_bytes(response.into_body(), usize::MAX).await?.to_vec())?))
    };
    for path in ["/healthz", "/readyz", "/metrics"] {
        let (status, text) = ask(Method::GET, path).await?;
        assert_eq!(status, 200, "{path}: {text}");
        assert!(!text.contains("secretive"), "{path}: {text}");
    }
    let views = ["nodes", "book", "digest", "journal", "pods/default/secretive"].map(|view| (Method::GET, format!("/api/v1/{view}")));
    let verbs = VERBS.map(|verb| (Method::POST, format!("/scheduler/{verb}")));
    for (method, path) in views.into_iter().chain(verbs) {
        assert_eq!(ask(method, &path).await?.0, 404, "{path}");
        if path.starts_with("/api") {
            assert_eq!(http.get(&path).await?.status, 200, "{path} on loopback");
        }
    }
    Ok(())
}
