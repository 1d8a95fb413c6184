//! Admission, three ways from one table: the policies and the webhook on a real API server, the webhook's functions without one.

mod real;
mod served;
mod table;
mod webhook;
mod without_cluster;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gangplank::policy::Profile;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use table::{Case, Table};
use webhook::Replicas;

use crate::deploy::{render, text};
use crate::support::{ControlPlane, Options, apply_yaml, wait_until};

const TAKES_EFFECT_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn the_webhooks_functions_do_what_the_table_says() {
    let table = Table::read("functions");
    let complaints = without_cluster::run(&table);
    assert!(complaints.is_empty(), "{} of {} cases:\n{}", complaints.len(), table.cases.len(), complaints.join("\n"));
}

#[tokio::test]
async fn the_policies_do_what_the_table_says_on_a_real_api_server() -> Result<()> {
    let Some(control_plane) = start("the admission policies") else { return Ok(()) };
    let client = control_plane.client().await?;
    let table = Table::read("policies");
    real::prepare(&client, &table).await.map_err(anyhow::Error::msg)?;

    apply_folder(&client, "deploy/admission").await?;
    take_effect(&client, &Table::read("probe").cases).await?;
    hold(&client, table.cases.iter()).await?;

    pods_of_many_containers_stay_within_the_cost_limits(&client).await?;
    validating_policies_type_check(&client).await
}

#[tokio::test]
async fn the_webhook_does_what_the_table_says_while_its_authorities_are_replaced() -> Result<()> {
    const AUTHORITIES_SEEN: usize = 3;
    const ROTATES_WITHIN: Duration = Duration::from_secs(90);
    let Some(control_plane) = start("the admission webhook") else { return Ok(()) };
    let client = control_plane.client().await?;
    real::prepare(&client, &Table::read("webhook")).await.map_err(anyhow::Error::msg)?;
    let replicas = Replicas::start(&control_plane, &client).await?;
    take_effect(&client, &Table::read("probe").cases).await?;

    let (began, mut rounds, mut authorities) = (Instant::now(), 0, BTreeSet::new());
    while authorities.len() < AUTHORITIES_SEEN {
        if began.elapsed() > ROTATES_WITHIN {
            bail!("{} authorities in {ROTATES_WITHIN:?}", authorities.len());
        }
        let table = Table::read(&format!("webhook-{rounds}"));
        hold(&client, table.cases.iter().filter(|case| case.for_webhook)).await.with_context(|| format!("round {rounds}"))?;
        let bundle = replicas.ca_bundle().await?;
        authorities.extend(bundle.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned));
        rounds += 1;
    }

    replicas.stop().await;
    only_those_who_need_the_webhook_miss_it(&client).await
}

#[tokio::test]
async fn gangplank_serve_admits_shares_and_refuses_bad_amounts() -> Result<()> {
    // The oldest that the API server can still play, and the oldest that the chart takes.
    let old = ["kube-apiserver", "kube-controller-manager"].map(|component| format!("--arg={component}=--emulated-version=1.33"));
    let options = Options { without: vec!["kube-scheduler", "kwok"], flags: old.into(), ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("gangplank serve admits", &options) else { return Ok(()) };
    let Some(render) = render() else { return Ok(()) };
    let client = control_plane.client().await?;
    // Why amounts are the webhook's there, and a sign that it does play it.
    let refused = apply_yaml(&client, "", &text("deploy/admission/validate-amounts.yaml")).await.err().context("it was accepted")?;
    assert!(format!("{refused:?}").contains("undeclared reference to 'flatten'"), "{refused:?}");
    real::prepare(&client, &Table::read("served")).await.map_err(anyhow::Error::msg)?;
    served::alone(&control_plane, &client).await?;
    served::as_installed(&control_plane, &client, render).await
}

#[test]
fn the_policies_manage_what_the_shipped_profile_manages() {
    let profile: Vec<String> =
        Profile::shipped().classes.0.iter().flat_map(|class| class.resources.iter().map(ToString::to_string)).collect();
    let mut expected = profile;
    expected.push("gangplank.dev/gpu-milli".into());
    let mut lists = 0;
    for file in ["mutate-pods.yaml", "validate-amounts.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/admission").join(file);
        let text = std::fs::read_to_string(path).expect("it is shipped");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        for variable in documents.iter().filter_map(|document| document.pointer("/spec/variables")?.as_array()).flatten() {
            if variable["name"] == "managed" {
                let list = variable["expression"].as_str().expect("an expression").replace('\'', "\"");
                let names: Vec<String> = serde_json::from_str(&list).expect("a list of names and nothing else");
                assert_eq!(names, expected, "the accelerators of {file} and of policies/default.yaml differ");
                lists += 1;
            }
        }
    }
    assert_eq!(lists, 2);
}

/// The controller manager checks the types of policies, and gives namespaces their accounts; nothing here is scheduled.
fn start(test: &str) -> Option<ControlPlane> {
    ControlPlane::start_or_skip(test, &Options { without: vec!["kube-scheduler", "kwok"], ..Options::default() })
}

async fn apply_folder(client: &Client, folder: &str) -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    for file in files.iter().map(std::fs::DirEntry::path).filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        if file.ends_with("kustomization.yaml") {
            continue;
        }
        apply_yaml(client, "gangplank-system", &std::fs::read_to_string(&file)?).await.with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// The API server learns of policies and webhooks by a watch: asks until one case of each has come out as it should.
async fn take_effect(client: &Client, probes: &[Case]) -> Result<()> {
    let wanted = [
        "a quarter is 250 thousandths",
        "a fraction in a new template becomes a share (Deployment)",
        "more than 1000 thousandths are refused like the fraction they are",
        "a tenant cannot create a pod with a rank",
        "a tenant cannot create a namespace that opts in",
    ];
    for name in wanted {
        let probe = probes.iter().find(|case| case.name == name).with_context(|| format!("no case is called {name:?}"))?;
        wait_until(name, TAKES_EFFECT_WITHIN, async || Ok(real::run(client, [probe]).await.is_empty().then_some(()))).await?;
    }
    Ok(())
}

async fn hold(client: &Client, cases: impl Iterator<Item = &Case>) -> Result<()> {
    let cases: Vec<_> = cases.collect();
    let complaints = real::run(client, cases.iter().copied()).await;
    if !complaints.is_empty() {
        bail!("{} of {} cases:\n{}", complaints.len(), cases.len(), complaints.join("\n"));
    }
    Ok(())
}

/// CEL is paid for by the request; one that costs too much is refused, whatever it says.
async fn pods_of_many_containers_stay_within_the_cost_limits(client: &Client) -> Result<()> {
    let container = |prefix: &str, i: usize| {
        let env: Vec<_> = (0..20).map(|i| json!({"name": format!("E{i}"), "value": "x"})).collect();
        json!({"name": format!("{prefix}{i}"), "image": "example.com/image:1", "env": env,
            "resources": {"limits": {"nvidia.com/gpu": "0.5", "gangplank.dev/gpu-memory-mib": "1024", "cpu": "1", "memory": "1Gi"}}})
    };
    for count in [20, 100] {
        let containers = |prefix: &str| (0..count).map(|i| container(prefix, i)).collect::<Vec<_>>();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "many"},
            "spec": {"containers": containers("main"), "initContainers": containers("init")}});
        let admitted = real::create_as_tenant(client, "team", &pod).await.map_err(anyhow::Error::msg)?;
        let last = &admitted["spec"]["initContainers"][count - 1];
        assert_eq!(last["resources"]["limits"]["gangplank.dev/gpu-milli"], json!("500"));
        assert_eq!(last["env"].as_array().map(Vec::len), Some(23));
    }
    Ok(())
}

/// What the API server's own type check has to say about the validating policies; mutating ones have none.
async fn validating_policies_type_check(client: &Client) -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    for name in ["gangplank-amounts", "gangplank-annotations", "gangplank-namespaces"] {
        let checked = wait_until(&format!("{name} to be type-checked"), TAKES_EFFECT_WITHIN, async || {
            let policy = policies.get(name).await?;
            Ok(policy.status.as_ref().is_some_and(|status| status.observed_generation == policy.metadata.generation).then_some(policy))
        })
        .await?;
        let warnings = checked
            .status
            .as_ref()
            .and_then(|status| status.type_checking.as_ref())
            .and_then(|checked| checked.expression_warnings.clone());
        assert_eq!(warnings.unwrap_or_default(), Vec::new(), "{}", checked.name_any());
    }
    Ok(())
}

/// With no replica left: what asks for accelerators in a namespace that opted in is refused, and nothing else.
async fn only_those_who_need_the_webhook_miss_it(client: &Client) -> Result<()> {
    let pod = |limits: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "without-webhook"},
            "spec": {"containers": [{"name": "main", "image": "example.com/image:1", "resources": {"limits": limits}}]}})
    };
    let refusal = real::create_as_tenant(client, "team", &pod(json!({"nvidia.com/gpu": 1}))).await.err().context("it was admitted")?;
    assert!(refusal.contains("failed calling webhook"), "{refusal}");
    for (namespace, limits) in [
        ("team", json!({"cpu": 1})),
        ("stranger", json!({"nvidia.com/gpu": 1})),
        ("opted-out", json!({"nvidia.com/gpu": 1})),
        ("kube-system", json!({"nvidia.com/gpu": 1})),
        ("gangplank-system", json!({"nvidia.com/gpu": 1})),
    ] {
        real::create_as_tenant(client, namespace, &pod(limits)).await.map_err(anyhow::Error::msg).context(namespace)?;
    }
    Ok(())
}
