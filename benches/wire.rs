//! What the wire costs a call at 100, 1,000 and 5,000 names: parsing a filter request, and rendering each shape of
//! answer. Everything but HTTP and the engine. `cargo bench --bench wire`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gangplank::engine::{FilterAnswer, Refused};
use gangplank::model::{Curable, Reason};
use gangplank::policy::Profile;
use gangplank::wire::extender::{client, parse_filter, render_filter, render_prioritize};

/// A pod of ordinary size, about 3 kB as kube-scheduler sends it.
fn pod() -> serde_json::Value {
    let env: Vec<_> =
        (0..20).map(|i| serde_json::json!({"name": format!("VARIABLE_{i}"), "value": "some value of ordinary length"})).collect();
    serde_json::json!({
        "metadata": {"name": "trainer-0", "namespace": "ml", "uid": "6c1b0a52-7a11-4f0e-9f5e-1d2c3b4a5968", "resourceVersion": "123456",
            "creationTimestamp": "2026-10-01T12:00:00Z", "labels": {"app": "trainer", "job-name": "trainer"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "trainer", "uid": "1", "controller": true}]},
        "spec": {"schedulerName": "gangplank", "restartPolicy": "Never", "priority": 0,
            "containers": [{"name": "main", "image": "trainer:1", "env": env, "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "resources": {"limits": {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi"},
                              "requests": {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi"}}}],
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]},
        "status": {"phase": "Pending", "qosClass": "Guaranteed"},
    })
}

fn wire(criterion: &mut Criterion) {
    let classes = Profile::shipped().classes;
    let pod = client::pod_json(&pod()).expect("plain JSON");
    let mut group = criterion.benchmark_group("wire");
    for count in [100_u32, 1000, 5000] {
        let names: Vec<String> = (0..count).map(|i| format!("gpu-node-{i:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let body = client::render_filter_request(&pod, &names);
        let request = parse_filter(&body, &classes).expect("the client writes what the server reads");
        let all = FilterAnswer { nodes: (0..count).collect(), refused: Refused::None };
        let one = FilterAnswer { nodes: vec![count / 2], refused: Refused::None };
        let reasons = [Reason::InsufficientDevices, Reason::NodeHoldsShares, Reason::InsufficientDeviceMemory, Reason::UnhealthyDevices];
        let curable = [Curable::ByEviction, Curable::NotByScheduler, Curable::NotByScheduler, Curable::NotByScheduler];
        let each = (0..count as usize).map(|i| (reasons[i % 4].clone(), curable[i % 4])).collect();
        let none = FilterAnswer { nodes: vec![], refused: Refused::Each(each) };
        let scores: Vec<i64> = (0..i64::from(count)).map(|i| i % 11).collect();

        group.throughput(Throughput::Elements(u64::from(count)));
        let mut run = |what: &str, work: &dyn Fn() -> usize| {
            group.bench_function(BenchmarkId::new(what, count), |bencher| bencher.iter(|| black_box(work())));
        };
        run("parse_filter", &|| parse_filter(black_box(&body), &classes).map_or(0, |request| request.offered()));
        run("render_filter_one", &|| render_filter(black_box(&request), &one).len());
        run("render_filter_all", &|| render_filter(black_box(&request), &all).len());
        run("render_filter_refused", &|| render_filter(black_box(&request), &none).len());
        run("render_prioritize", &|| render_prioritize(black_box(&request), &scores).len());
    }
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
