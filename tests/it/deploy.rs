//! What people install: manifests, chart, examples, and the documents that must not drift away from them.
//!
//! ```text
//! deploy/**  --kustomize, helm (tests/render)-->  objects  --compared with each other, the docs and the shipped profile
//!                                                    |
//!                                                    +--> the real API server, and a real kube-scheduler
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use gangplank::cluster::webhook_config::WEBHOOK_VERBS;
use gangplank::cluster::{LEAD_VERBS, LEASE_VERBS, PROVISION_VERBS, verbs};
use gangplank::model::{SHARE_MEMORY_MIB, SHARE_MILLI};
use gangplank::policy::Profile;
use gangplank::provision::run::EVENT_VERBS;
use gangplank::telemetry::TABLE;
use serde_json::{Value, json};

pub(crate) const SECOND_SCHEDULER: &str = "deploy/second-scheduler";
pub(crate) const SECOND_SCHEDULER_WEBHOOK: &str = "deploy/second-scheduler-webhook";
pub(crate) const KIND: &str = "deploy/kind";
const CHART: &str = "deploy/helm/gangplank";

#[test]
fn chart_and_kustomization_make_the_same_objects() {
    let Some(render) = render() else { return };
    let by_kustomize = comparable(render.kustomize(SECOND_SCHEDULER));
    let by_helm = comparable(render.helm(&["-set", "namespace.create=true"]));
    assert_same(&by_kustomize, &by_helm);
}

#[test]
fn chart_and_kustomization_make_the_same_objects_for_older_clusters() {
    let Some(render) = render() else { return };
    let options = ["namespace.create=true", "admission.mode=webhook", "kubeScheduler.tag=v1.35.0"].map(|option| ["-set", option]).concat();
    let by_helm = comparable(render.helm(&[&["-kube-version", "v1.35.4"], &options[..]].concat()));
    let by_kustomize = comparable(render.kustomize(SECOND_SCHEDULER_WEBHOOK));
    assert_same(&by_kustomize, &by_helm);
    let kinds: BTreeSet<_> = by_helm.values().filter_map(|object| object["kind"].as_str()).collect();
    assert!(kinds.iter().all(|kind| !kind.starts_with("MutatingAdmission")), "{kinds:?}");
    // Asked by kubelet and API server by these names.
    let port = by_helm["Service gangplank-system/gangplank-admission"]["spec"]["ports"][0]["targetPort"].clone();
    let container = &by_helm["Deployment gangplank-system/gangplank"]["spec"]["template"]["spec"]["initContainers"][0];
    assert!(
        container["ports"].as_array().expect("ports").iter().any(|it| it["name"] == port && it["containerPort"] == 10272),
        "{container}"
    );
    // `gangplank uninstall` goes by this label.
    for configuration in
        by_helm.values().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration")))
    {
        assert_eq!(configuration["metadata"]["labels"]["app.kubernetes.io/part-of"], "gangplank");
    }
}

#[test]
fn chart_and_kustomization_mount_the_same_profiles() {
    let Some(render) = render() else { return };
    let by_kustomize = comparable(render.kustomize("deploy/second-scheduler-profiles"));
    let options = ["namespace.create=true", "profiles.configMap=gangplank-profiles"].map(|option| ["-set", option]).concat();
    let by_helm = comparable(render.helm(&options));
    assert_same(&by_kustomize, &by_helm);
    let pod = &by_helm["Deployment gangplank-system/gangplank"]["spec"]["template"]["spec"];
    let mount = &pod["initContainers"][0]["volumeMounts"][0];
    assert!(mount["subPath"].is_null(), "kubelet does not update what is mounted by subPath: {mount}");
    let argument = format!("--profile={}", mount["mountPath"].as_str().expect("a path"));
    assert!(pod["initContainers"][0]["args"].as_array().expect("arguments").contains(&json!(argument)), "{argument}");
}

#[test]
fn chart_and_kustomization_make_the_same_monitoring() {
    let Some(render) = render() else { return };
    let by_kustomize = comparable(render.kustomize("deploy/monitoring"));
    let options = ["metrics.serviceMonitor=true", "metrics.prometheusRule=true", "metrics.dashboard=true"];
    let mut by_helm = comparable(render.helm(&options.map(|option| ["-set", option]).concat()));
    by_helm.retain(|name, _| by_kustomize.contains_key(name));
    assert_same(&by_kustomize, &by_helm);
}

fn assert_same(left: &BTreeMap<String, Value>, right: &BTreeMap<String, Value>) {
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    for (name, object) in left {
        assert_eq!(object, &right[name], "{name}");
    }
}

#[test]
fn chart_refuses_what_cannot_work() {
    let Some(render) = render() else { return };
    for (arguments, reason) in [
        (&["-kube-version", "v1.32.9"][..], ">=1.33.0-0"),
        (&["-kube-version", "v1.35.4"], "set admission.mode=webhook"),
        (&["-set", "admission.mode=webhooks"], "/admission/mode"),
        (&["-kube-version", "v1.35.4", "-set", "admission.mode=webhook"], "kubeScheduler.tag=v1.36.3 is newer"),
        (&["-set", "replicas=0"], "/replicas"),
        (&["-set", "schedulerName=default-scheduler"], "/schedulerName"),
        (&["-set", "extraArgs[0]=serve"], "/extraArgs"),
        (&["-set", "imgae.tag=1"], "imgae"),
    ] {
        let error = render.run(&[&["helm", CHART], arguments].concat()).expect_err(reason);
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}

#[test]
fn chart_options_reach_the_objects() {
    let Some(render) = render() else { return };
    let objects = comparable(render.helm(&[
        "-namespace",
        "elsewhere",
        "-set",
        "schedulerName=accelerators",
        "-set",
        "extraManagedResources[0]=xilinx.com/fpga-u250",
        "-set",
        "metrics.enabled=false",
    ]));
    assert!(objects.keys().all(|name| !name.contains("gangplank-system") && !name.contains("metrics")), "{:?}", objects.keys());
    let config = &objects["ConfigMap elsewhere/gangplank-scheduler-config"]["data"]["scheduler-config.yaml"];
    assert_eq!(config["profiles"][0]["schedulerName"], "accelerators");
    assert_eq!(config["leaderElection"]["resourceNamespace"], "elsewhere");
    assert!(managed(config).contains_key("xilinx.com/fpga-u250"));
    let scheduler = |policy: &str| {
        let variables = objects[policy]["spec"]["variables"].as_array().expect("variables");
        variables.iter().find(|variable| variable["name"] == "scheduler").map(|variable| variable["expression"].clone())
    };
    assert_eq!(scheduler("MutatingAdmissionPolicy gangplank-pods"), Some(json!("'accelerators'")));
    let text = serde_json::to_string(&objects).expect("JSON values are JSON");
    assert!(!text.contains("gangplank-system"), "a name of the default namespace is left");

    let by_webhook =
        comparable(render.helm(&["-namespace", "elsewhere", "-set", "schedulerName=accelerators", "-set", "admission.mode=webhook"]));
    let arguments = by_webhook["Deployment elsewhere/gangplank"]["spec"]["template"]["spec"]["initContainers"][0]["args"].to_string();
    for argument in ["--admission-service=elsewhere/gangplank-admission", "--admission-scheduler=accelerators"] {
        assert!(arguments.contains(argument), "{arguments}");
    }
    let text = serde_json::to_string(&by_webhook).expect("JSON values are JSON");
    assert!(!text.contains("gangplank-system"), "a name of the default namespace is left");

    let by_nobody =
        comparable(render.helm(&["-set", "admission.mode=none", "-kube-version", "v1.33.1", "-set", "kubeScheduler.tag=v1.33.1"]));
    assert!(by_nobody.keys().all(|name| !name.contains("Admission") && !name.contains("Webhook")), "{:?}", by_nobody.keys());
}

#[test]
fn kube_scheduler_is_told_of_what_the_shipped_profile_manages_and_of_nothing_else() {
    let config = yaml("deploy/second-scheduler/scheduler-config.yaml").remove(0);
    assert_eq!(config["extenders"], yaml("deploy/kind/scheduler-config.yaml")[0]["extenders"], "the two shapes differ");

    let mut managed = managed(&config);
    for share in [SHARE_MILLI, SHARE_MEMORY_MIB] {
        assert_eq!(managed.remove(share), Some(true), "{share} is in no node's status, so kube-scheduler must not count it");
    }
    let classes = Profile::shipped().classes;
    for (name, ignored) in &managed {
        assert!(!ignored, "{name}: kube-scheduler must count whole devices");
        assert!(classes.of(name).is_some(), "{name} is in no class of policies/default.yaml");
    }
    for pattern in classes.0.iter().flat_map(|class| &class.resources) {
        let told = match pattern.strip_suffix('*') {
            Some(prefix) => managed.keys().any(|name| name.starts_with(prefix)),
            None => managed.contains_key(&**pattern),
        };
        assert!(told, "{pattern} of policies/default.yaml is no managed resource");
    }
}

#[test]
fn preempt_has_an_entry_of_its_own_that_pods_without_accelerators_can_do_without() {
    let config = yaml("deploy/second-scheduler/scheduler-config.yaml").remove(0);
    let [placing, preempting] = config["extenders"].as_array().expect("a list").as_slice() else { panic!("two entries") };
    assert_eq!(placing["ignorable"], false, "with true, kube-scheduler would make a binding that was refused");
    assert_eq!(placing.get("preemptVerb"), None);
    assert_eq!(preempting["ignorable"], true);
    assert_eq!(preempting.get("managedResources"), None);
    for verb in ["filterVerb", "prioritizeVerb", "bindVerb"] {
        assert!(placing.get(verb).is_some() && preempting.get(verb).is_none(), "{verb}");
    }
}

#[test]
fn the_account_may_do_what_the_program_does_and_the_security_page_says() {
    let documented = documented("### Everywhere");
    assert_eq!(granted(), documented);
    let used: BTreeSet<Grant> = verbs().map(|(group, resource, verb)| (group.into(), resource.into(), verb.into())).collect();
    assert_eq!(granted(), used, "the role and what `gangplank serve` calls");
}

#[test]
fn the_right_to_ask_for_nodes_is_granted_apart_and_is_what_the_program_does_and_the_security_page_says() {
    let Some(render) = render() else { return };
    let by_kustomize = comparable(render.kustomize("deploy/provisioning"));
    let granted: BTreeSet<Grant> = by_kustomize.values().filter(|object| object.get("rules").is_some()).flat_map(grants).collect();
    assert_eq!(granted, documented("### With ProvisioningRequests"));
    let used: BTreeSet<Grant> =
        PROVISION_VERBS.iter().map(|&(group, resource, verb)| (group.into(), resource.into(), verb.into())).collect();
    assert_eq!(granted, used, "the role and what is called");
    let mut by_helm = comparable(render.helm(&["-set", "provisioningRequests=true"]));
    by_helm.retain(|name, _| by_kustomize.contains_key(name));
    assert_same(&by_kustomize, &by_helm);
    let without = comparable(render.helm(&[]));
    assert!(by_kustomize.keys().all(|name| !without.contains_key(name)), "nobody has the right who did not ask for it");
}

#[test]
fn the_webhook_may_do_what_it_does_and_the_security_page_says() {
    let Some(render) = render() else { return };
    let objects = render.kustomize(SECOND_SCHEDULER_WEBHOOK);
    let roles =
        objects.iter().filter(|object| object["metadata"]["name"] == "gangplank-admission-webhook" && object.get("rules").is_some());
    let granted: BTreeSet<Grant> = roles.flat_map(grants).collect();
    assert_eq!(granted, documented("### With the webhook"));
    let used: BTreeSet<Grant> = WEBHOOK_VERBS.iter().map(|&(group, resource, verb)| (group.into(), resource.into(), verb.into())).collect();
    assert_eq!(granted, used, "the roles and what the webhook calls");
    // What can be asked for by name is.
    for rule in objects.iter().filter_map(|object| object["rules"].as_array()).flatten() {
        if rule["resources"] == json!(["secrets"]) && rule.get("resourceNames").is_none() {
            assert_eq!(rule["verbs"], json!(["create"]));
        }
    }
}

#[test]
fn the_controller_may_do_what_its_writes_are_named_for_and_the_security_page_says() {
    let Some(render) = render() else { return };
    let objects = render.kustomize("deploy/controller");
    let role = |kind: &str| {
        let named = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == "gangplank-provision";
        objects.iter().find(named).unwrap_or_else(|| panic!("no {kind}"))
    };
    let granted = grants(role("ClusterRole"));
    assert_eq!(granted, documented("### With the controller"));
    let static_verbs = EVENT_VERBS.iter().map(|&(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned()));
    let used = gangplank::drive::verbs().into_iter().map(|(group, resource, verb)| (group.to_owned(), resource, verb.to_owned()));
    assert_eq!(granted, used.chain(static_verbs).collect(), "the role and what the controller calls");
    let lease = grants(role("Role"));
    assert_eq!(lease, LEAD_VERBS.iter().map(|&(group, resource, verb)| (group.into(), resource.into(), verb.into())).collect());
    // What can be asked for by name is, and the name is the one that is stood for.
    for rule in role("Role")["rules"].as_array().expect("rules").iter().filter(|rule| rule.get("resourceNames").is_none()) {
        assert_eq!(rule["verbs"], json!(["create"]));
    }
    let container = &role("Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert!(container["args"].as_array().expect("arguments").contains(&json!("--lease=gangplank-system/gangplank-provision")));
    assert!(objects.iter().all(|object| object["kind"] != "CustomResourceDefinition"), "definitions come with the shapes");
}

#[test]
fn the_lease_may_be_read_where_it_is_and_by_its_name_alone() {
    for (file, lease) in [("deploy/second-scheduler/rbac.yaml", "gangplank-scheduler"), ("deploy/kind/rbac.yaml", "kube-scheduler")] {
        let role = yaml(file).into_iter().find(|object| object["kind"] == "Role").expect("a role");
        let [granted] = role["rules"].as_array().expect("rules").as_slice() else { panic!("one rule") };
        assert_eq!(granted["resourceNames"], json!([lease]));
        for &(group, resource, verb) in LEASE_VERBS {
            assert_eq!((&granted["apiGroups"], &granted["resources"]), (&json!([group]), &json!([resource])));
            assert!(granted["verbs"].as_array().expect("verbs").contains(&json!(verb)), "{verb}");
        }
    }
}

#[test]
fn alerts_dashboard_and_runbook_name_metrics_that_exist() {
    let documents = text("deploy/monitoring/prometheusrule.yaml") + &text("deploy/monitoring/dashboard.json") + &text("docs/runbook.md");
    let mut named = 0;
    for word in documents.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("gangplank_")) {
        let name = word.trim_end_matches("_bucket");
        assert!(TABLE.iter().any(|row| row.name == name), "{name}");
        named += 1;
    }
    assert!(named >= 10, "{named}");
}

#[test]
fn every_metric_stands_in_the_api_page_with_its_labels() {
    let page = text("docs/api.md");
    let documented: BTreeSet<&str> = page.lines().filter(|line| line.starts_with("| `gangplank_")).collect();
    assert_eq!(documented.len(), TABLE.len(), "a row too many or too few");
    for row in TABLE {
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let begin = format!("| `{}` | {} |", row.name, labels.join(", "));
        assert!(documented.iter().any(|line| line.starts_with(&begin)), "docs/api.md lacks a row that begins with {begin}");
    }
}

/// Nobody can build the image where the tests run; that it misses a file can be seen all the same.
#[test]
fn the_image_is_built_from_every_text_that_is_compiled_in() {
    let dockerfile = text("deploy/Dockerfile");
    let copied: Vec<&str> =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).flat_map(|line| line.split(' ').rev().skip(1)).collect();
    let let_in = text(".dockerignore");
    let mut seen = 0;
    for (file, path) in compiled_in() {
        let by = copied.iter().find(|from| path == **from || path.starts_with(&format!("{from}/")));
        let by = by.unwrap_or_else(|| panic!("{file} compiles {path} in, and deploy/Dockerfile does not copy it"));
        assert!(let_in.lines().any(|line| line == format!("!{by}")), "{by} is kept out by .dockerignore");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}

/// Source files and the texts outside of `src` that they compile in, tests left out.
fn compiled_in() -> Vec<(String, String)> {
    let (mut folders, mut found) = (vec![PathBuf::from("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(repository().join(&folder)).expect("a folder").map(|entry| entry.expect("readable")) {
            let path = folder.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                folders.push(path);
                continue;
            }
            let source = text(&path);
            let program = source.split("#[cfg(test)]").next().unwrap_or_default();
            for named in program.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let mut whole = folder.clone();
                for part in named.split('/') {
                    if part == ".." {
                        whole.pop()
                    } else {
                        whole.push(part);
                        true
                    };
                }
                let whole = whole.display().to_string();
                if !whole.starts_with("src/") {
                    found.push((path.display().to_string(), whole));
                }
            }
        }
    }
    found
}

#[test]
fn no_rule_is_a_wildcard_or_reaches_for_secrets_or_power() {
    let objects: Vec<Value> =
        ["deploy/base/rbac.yaml", "deploy/second-scheduler/rbac.yaml", "deploy/kind/rbac.yaml"].into_iter().flat_map(yaml).collect();
    for rule in objects.iter().filter_map(|object| object["rules"].as_array()).flatten() {
        let words = serde_json::to_string(rule).expect("JSON values are JSON");
        for word in ["*", "secrets", "delete", "deletecollection", "escalate", "bind", "impersonate", "clusterroles"] {
            assert!(!words.contains(&format!("\"{word}\"")), "{words}");
        }
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbook() {
    let runbook = text("docs/runbook.md");
    let rules = yaml("deploy/monitoring/prometheusrule.yaml").remove(0);
    for rule in rules["spec"]["groups"][0]["rules"].as_array().expect("rules") {
        let alert = rule["alert"].as_str().expect("a name");
        assert!(runbook.contains(&format!("### {alert}\n")), "{alert}");
        assert_eq!(rule["annotations"]["runbook_url"], format!("docs/runbook.md#{}", alert.to_lowercase()));
    }
}

#[test]
fn every_example_says_what_it_shows_and_stands_in_the_table() {
    let table = text("deploy/examples/README.md");
    let examples = examples();
    assert_eq!(examples.len(), 20);
    for path in examples {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("UTF-8");
        let head: Vec<_> = text(&path).lines().take_while(|line| line.starts_with('#')).map(str::to_owned).collect();
        assert!(head.len() >= 3 && head[1] == "#", "{name}: one line of what it is, an empty one, and how it is treated");
        assert!(table.contains(&format!("[{name}]({name}.yaml)")), "{name} is not in the table");
    }
}

/// The examples stand for twenty manifests that users wrote: same fields, same values. Those are not part of this repository.
#[test]
fn examples_have_the_fields_and_values_of_the_manifests_they_stand_for() {
    let seeds = repository().join("../shared/seed-manifests");
    let Ok(entries) = std::fs::read_dir(&seeds) else {
        skipped(&format!("{} is not there, so the examples are compared with nothing", seeds.display()));
        return;
    };
    let all = |paths: Vec<PathBuf>| -> BTreeSet<String> { paths.iter().map(|path| json!(yaml(path)).to_string()).collect() };
    let seeds: Vec<_> = entries.map(|entry| entry.expect("readable").path()).filter(|path| is_yaml(path)).collect();
    assert_eq!(all(examples()), all(seeds));
}

/// (API group, resource, verb)
type Grant = (String, String, String);

/// What the table below this heading of the security page says.
fn documented(heading: &str) -> BTreeSet<Grant> {
    let page = text("docs/security.md");
    let (_, below) = page.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    below
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let (resource, verbs) = (cells.next()?, cells.next()?);
            let known = ["get", "list", "watch", "patch", "create", "update", "delete"];
            let verbs: Vec<_> = verbs.split(", ").collect();
            // The lease line is about a Role; leases are checked below.
            (verbs.iter().all(|verb| known.contains(verb)) && !resource.starts_with("leases")).then_some((resource, verbs))
        })
        .flat_map(|(resource, verbs)| {
            // Behind a space or a comma: which of them.
            let resource = resource.split([' ', ',']).next().unwrap_or_default();
            let (name, group) = resource.split_once('.').unwrap_or((resource, ""));
            verbs.into_iter().map(|verb| (group.to_owned(), name.to_owned(), verb.to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

/// What the cluster-wide role of Gangplank's own account grants.
fn granted() -> BTreeSet<Grant> {
    let role = yaml("deploy/base/rbac.yaml")
        .into_iter()
        .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "gangplank");
    grants(&role.expect("the role"))
}

/// What a role grants.
fn grants(role: &Value) -> BTreeSet<Grant> {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().expect("a list").iter().map(|word| word.as_str().expect("text").to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    assert!(granted.insert((group.clone(), resource.clone(), verb.clone())), "{verb} {resource} is granted twice");
                }
            }
        }
    }
    granted
}

/// The managed resources of a scheduler configuration, and whether kube-scheduler ignores them.
fn managed(config: &Value) -> BTreeMap<String, bool> {
    let list = config["extenders"][0]["managedResources"].as_array().expect("managed resources");
    let managed: BTreeMap<_, _> =
        list.iter().map(|entry| (entry["name"].as_str().expect("a name").to_owned(), entry["ignoredByScheduler"] == true)).collect();
    assert_eq!(managed.len(), list.len(), "a name stands twice");
    managed
}

/// Objects by kind and name, in a form that two tools can agree on.
fn comparable(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let objects: BTreeMap<_, _> = objects.into_iter().map(|object| (name(&object), comparable_object(object))).collect();
    assert_eq!(objects.len(), count, "an object stands twice");
    objects
}

fn comparable_object(mut object: Value) -> Value {
    if object["kind"] == "ConfigMap" {
        // The chart fills a template in, so the text differs where the configuration does not.
        for text in object["data"].as_object_mut().expect("data").values_mut() {
            *text = documents(text.as_str().expect("text")).remove(0);
        }
    }
    if let Some(annotations) = object.pointer_mut("/spec/template/metadata").and_then(Value::as_object_mut) {
        // The one difference on purpose: it replaces the pods when their configuration changes.
        annotations.remove("annotations");
    }
    for condition in object["webhooks"].as_array_mut().into_iter().flatten().filter_map(|it| it["matchConditions"].as_array_mut()).flatten()
    {
        // kustomize adds empty lines to expressions of objects that it patches.
        let words: Vec<_> = condition["expression"].as_str().expect("an expression").split_whitespace().collect();
        condition["expression"] = json!(words.join(" "));
    }
    object
}

fn name(object: &Value) -> String {
    let metadata = &object["metadata"];
    let kind = object["kind"].as_str().expect("a kind");
    let name = metadata["name"].as_str().expect("a name");
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn text(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: impl AsRef<Path>) -> Vec<Value> {
    documents(&text(path))
}

pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml")
}

fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("deploy/examples")).expect("deploy/examples");
    entries.map(|entry| entry.expect("readable").path()).filter(|path| is_yaml(path)).collect()
}

/// The command of tests/render, built once.
pub(crate) struct Render(PathBuf);

pub(crate) fn render() -> Option<&'static Render> {
    static RENDER: LazyLock<Option<Render>> = LazyLock::new(Render::build);
    RENDER.as_ref()
}

impl Render {
    fn build() -> Option<Self> {
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("render");
        let go = Command::new("go").args(["build", "-o"]).arg(&binary).arg(".").current_dir(repository().join("tests/render")).output();
        match go {
            Ok(output) => {
                assert!(output.status.success(), "tests/render does not build:\n{}", String::from_utf8_lossy(&output.stderr));
                Some(Self(binary))
            }
            Err(error) => {
                // A person is told; CI, where nobody reads what was passed over, fails.
                assert!(std::env::var_os("CI").is_none(), "Go is needed to render the manifests: {error}");
                skipped(&format!("Go is needed to render the manifests: {error}"));
                None
            }
        }
    }

    pub(crate) fn kustomize(&self, folder: &str) -> Vec<Value> {
        self.objects(&["kustomize", folder])
    }

    fn helm(&self, arguments: &[&str]) -> Vec<Value> {
        self.objects(&[&["helm", CHART], arguments].concat())
    }

    fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        serde_json::from_str(&output).expect("a list of objects")
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.0).args(arguments).current_dir(repository()).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// Says so past the test harness, which keeps what a passing test prints to itself.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}
