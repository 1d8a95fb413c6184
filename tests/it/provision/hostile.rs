//! Specs of a stranger who wants more than a job: every one is refused, with the field and what to write instead.

use std::fmt::Write as _;

use gangplank::recipe;

/// What is tried, the `metadata` of the spec, its kind and body, and what is said.
type Try = (&'static str, &'static str, &'static str, &'static str, &'static str);

const T: &str = "TrainingJob";
const I: &str = "image: a/b:1\n";

const TRIES: &[Try] = &[
    (
        "the cluster's namespace",
        "{name: x, namespace: kube-system}",
        T,
        "",
        "metadata.namespace: `kube-system` belongs to the cluster itself",
    ),
    ("ours", "{name: x, namespace: gangplank-system}", T, "", "metadata.namespace: `gangplank-system` belongs to the cluster itself"),
    ("a namespace that is two", "{name: x, namespace: 'a/b'}", T, "", "metadata.namespace: `a/b` is not a name"),
    ("a namespace in a name", "{name: 'kube-system/x'}", T, "", "metadata.name: `kube-system/x` is not a name"),
    ("a path for a name", "{name: '../../etc'}", T, "", "metadata.name: `../../etc` is not a name"),
    ("a template for a name", "{name: '{{x}}'}", T, "", "metadata.name: `{{x}}` is not a name"),
    ("capitals", "{name: Train}", T, "", "is not a name"),
    ("our annotation", "{name: x, annotations: {gangplank.dev/plan: '{}'}}", T, "", "is not for users to write"),
    ("a label that selects", "{name: x, labels: {app.kubernetes.io/name: other}}", T, "", "is not for users to write"),
    ("the label of admission", "{name: x, labels: {pod-security.kubernetes.io/enforce: privileged}}", T, "", "is not for users to write"),
    ("a label's value with a line in it", "{name: x, labels: {a: \"b\\nc\"}}", T, "", "is not the value of a label"),
    ("owners", "{name: x, ownerReferences: []}", T, "", "there is no field `ownerReferences`"),
    ("finalizers", "{name: x, finalizers: [a/b]}", T, "", "there is no field `finalizers`"),
    ("privileged", "{name: x}", T, "privileged: true", "there is no field `privileged`"),
    ("a security context", "{name: x}", T, "securityContext: {privileged: true}", "there is no field `securityContext`"),
    ("the host's network", "{name: x}", T, "hostNetwork: true", "there is no field `hostNetwork`"),
    ("the host's processes", "{name: x}", T, "hostPID: true", "there is no field `hostPID`"),
    ("a volume of the host", "{name: x}", T, "volumes: [{hostPath: {path: /}}]", "there is no field `volumes`"),
    ("a pod by the back door", "{name: x}", T, "template: {spec: {}}", "there is no field `template`"),
    ("root", "{name: x}", T, "user: 0", "spec.user: is root"),
    ("a negative user", "{name: x}", T, "user: -1", "spec.user"),
    ("a folder of the node", "{name: x}", T, "datasets: {/data: /etc/kubernetes}", "folders of the node are not to be had"),
    ("a claim of another namespace", "{name: x}", T, "datasets: {/data: 'other:claim'}", "is not the name of a PersistentVolumeClaim"),
    ("an address for a claim", "{name: x}", T, "datasets: {/data: 'nfs://server/export'}", "is a path or an address, not a claim"),
    ("out of the claim", "{name: x}", T, "datasets: {/data: claim/../../etc}", "is no folder of the claim"),
    ("out of the claim by a variable", "{name: x}", T, "datasets: {/data: 'claim/$(HOME)'}", "is no folder of the claim"),
    ("over the program's files", "{name: x}", T, "datasets: {/usr: claim}", "is the system's own"),
    ("over the kernel's files", "{name: x}", T, "outputs: {/proc/sys: claim}", "is the system's own"),
    ("over the account's token", "{name: x}", T, "outputs: {/var/run/secrets/kubernetes.io: claim}", "is the system's own"),
    ("a mount that climbs", "{name: x}", T, "outputs: {/data/../etc: claim}", "climbs out of where it seems to be"),
    ("a mount with a mount in it", "{name: x}", T, "outputs: {'/data:/etc': claim}", "is not an absolute path"),
    ("a relative mount", "{name: x}", T, "outputs: {data: claim}", "is not an absolute path"),
    ("two on one place", "{name: x}", T, "datasets: {/data: a}\noutputs: {/data/: b}", "is mounted already"),
    ("a file that climbs", "{name: x}", T, "config: {/etc/app: {../../passwd: x}}", "is not the name of a file"),
    ("a file that is a link", "{name: x}", T, "config: {/etc/app: {..data: x}}", "is not the name of a file"),
    ("a Secret of another namespace", "{name: x}", T, "secretEnv: {TOKEN: other/secret/key}", "is not the name of a file"),
    ("a Secret's value", "{name: x}", T, "secretEnv: {TOKEN: hunter2}", "does not say which key of which Secret"),
    ("a variable that is two", "{name: x}", T, "env: {'A=B\nC': x}", "is not the name of a variable"),
    ("an image with a command in it", "{name: x}", T, "containers: [{name: y, image: 'a/b:1; rm -rf /'}]", "is not an image"),
    ("an image that climbs", "{name: x}", T, "containers: [{name: y, image: 'a/../b:1'}]", "is not an image"),
    ("the name of the first container", "{name: x}", T, "containers: [{name: main, image: 'a/b:1'}]", "`main` is taken"),
    ("the cluster's priority", "{name: x}", T, "priority: system-node-critical", "is for the cluster's own"),
    ("a share as a resource", "{name: x}", T, "accelerators: 'gangplank.dev/gpu-milli:5'", "names no resource"),
    ("more workers than there are", "{name: x}", T, "workers: 99999999", "is no number of workers"),
    ("more GPUs than there are", "{name: x}", T, "accelerators: 'H100:4294967297'", "which is no amount"),
    ("a number that is none", "{name: x}", T, "gpu: .nan", "non-finite float"),
    (
        "a metric that is a query",
        "{name: x}",
        "ModelServer",
        "monitoring: {latencySeconds: 1, latencyMetric: 'up) or vector(1'}",
        "is not the name of a metric",
    ),
    ("a password in an address", "{name: x}", "ModelServer", "model: 's3://key:secret@bucket/x'", "has a password in it"),
    ("a Secret that is a path", "{name: x}", "ModelServer", "tls: {secret: ../../etc/kubernetes/pki}", "is not the name of a Secret"),
    ("a Secret of another namespace for TLS", "{name: x}", "ModelServer", "tls: {secret: kube-system/tls}", "is not the name of a Secret"),
    ("an issuer with a line in it", "{name: x}", "ModelServer", "tls: {issuer: \"a\\n  kind: x\"}", "is not the name of a Issuer"),
    (
        "a host that is a directive",
        "{name: x}",
        "ModelServer",
        "tls: {secret: s, hosts: ['a; include /etc/passwd']}",
        "is not the name of a host",
    ),
    (
        "a proxy with a command in it",
        "{name: x}",
        "ModelServer",
        "tls: {secret: s, proxy: true, proxyImage: 'nginx:1 -c /x'}",
        "is not an image",
    ),
    (
        "files over the certificate",
        "{name: x}",
        "ModelServer",
        "tls: {secret: s}\nconfig: {/etc/gangplank/tls: {tls.key: x}}",
        "is mounted on /etc/gangplank/tls",
    ),
    (
        "an expression of Argo's",
        "{name: x}",
        "Pipeline",
        "steps: [{name: a, image: 'a/b:1', args: ['{{workflow.parameters.x}}']}]",
        "has `{{` in a text",
    ),
    (
        "a step of Argo's that is always true",
        "{name: x}",
        "Pipeline",
        "steps: [{name: a, image: 'a/b:1'}, {name: b, image: 'a/b:1', after: [a], onlyIf: {step: a, file: /x, is: \"1 || 1\"}}]",
        "is not the value of a label",
    ),
    (
        "steps in a ring",
        "{name: x}",
        "Pipeline",
        "steps: [{name: a, image: 'a/b:1', after: [b]}, {name: b, image: 'a/b:1', after: [a]}]",
        "goes in a ring: a after b after a",
    ),
    ("a step after itself", "{name: x}", "Pipeline", "steps: [{name: a, image: 'a/b:1', after: [a]}]", "goes in a ring: a after a"),
    (
        "a server over the cluster's own",
        "{name: x}",
        "Pipeline",
        "steps: [{name: a, deploy: {name: 'kube-system/b', server: {image: 'a/b:1'}}}]",
        "spec.steps[0].deploy.name: `kube-system/b` is not a name",
    ),
    (
        "a server as root by a step",
        "{name: x}",
        "Pipeline",
        "steps: [{name: a, deploy: {name: b, server: {image: 'a/b:1', user: 0}}}]",
        "spec.steps[0].deploy.server.user: is root",
    ),
    (
        "an account for a step that deploys",
        "{name: x}",
        "Pipeline",
        "steps: [{name: a, serviceAccount: admin, deploy: {name: b, server: {image: 'a/b:1'}}}]",
        "spec.steps[0].serviceAccount: stands in a step that deploys",
    ),
    (
        "an expression that is a bomb",
        "{name: x}",
        "Sweep",
        "search: grid\nparameters: {a: {values: [1]}}\njob: {image: 'a/b:1'}\nmetric: {name: m, goal: minimize, pattern: '(\\w{1000}){1000}'}",
        "spec.metric.pattern: is no regular expression that can be used",
    ),
    (
        "an expression for a name",
        "{name: x}",
        "Sweep",
        "search: grid\nparameters: {a: {values: [1]}}\njob: {image: 'a/b:1'}\nmetric: {name: '.*', goal: minimize}",
        "spec.metric.name: `.*` is not the name of a metric",
    ),
    (
        "the label of another sweep",
        "{name: x, labels: {gangplank.dev/sweep: other}}",
        "Sweep",
        "search: grid\nparameters: {a: {values: [1]}}\njob: {image: 'a/b:1'}",
        "is not for users to write",
    ),
    (
        "a database with its password",
        "{name: x}",
        "TrackingServer",
        "database: {url: 'postgresql://u:p@h/d', user: u, password: s/k}\nartifacts: {root: 's3://a/b'}",
        "has a user or a password in it",
    ),
    ("a quota on everything", "{name: x}", "Team", "accelerators: {'nvidia.com/*': 1}", "is many resources"),
];

fn refused(text: &str) -> String {
    let told = recipe::read(text)
        .and_then(|specs| specs.iter().try_for_each(|spec| spec.render((spec.kind.name == "Pipeline").then_some("argo")).map(drop)));
    told.expect_err(&text.chars().take(300).collect::<String>()).to_string()
}

fn spec(kind: &str, metadata: &str, body: &str) -> String {
    let image = if ["Pipeline", "Sweep", "Team"].contains(&kind) { "" } else { I };
    let body = format!("{image}{body}").replace('\n', "\n  ");
    format!("apiVersion: gangplank.dev/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec:\n  {body}\n")
}

#[test]
fn hostile_specs_are_refused_with_a_reason() {
    assert!(TRIES.len() >= 50, "{}", TRIES.len());
    for (what, metadata, kind, body, said) in TRIES {
        let error = refused(&spec(kind, metadata, body));
        assert!(error.contains(said), "{what}: {error}");
        assert!(error.starts_with("line "), "{what}: {error}");
    }
}

#[test]
fn huge_specs_are_refused_and_the_refusal_is_short() {
    let mega = "a".repeat(1 << 20);
    let half = "a".repeat(1 << 19);
    for (what, text) in [
        ("a name of a megabyte", spec(T, &format!("{{name: {mega}}}"), "")),
        ("a name of half of one", spec(T, &format!("{{name: {half}}}"), "")),
        ("a namespace", spec(T, &format!("{{name: x, namespace: {half}}}"), "")),
        ("a label", spec(T, &format!("{{name: x, labels: {{{half}: x}}}}"), "")),
        ("an image", spec(T, "{name: x}", &format!("containers: [{{name: y, image: {half}}}]"))),
        ("a word", spec(T, "{name: x}", &format!("command: [{half}]"))),
        ("a variable's value", spec(T, "{name: x}", &format!("env: {{A: {half}}}"))),
        ("a mount", spec(T, "{name: x}", &format!("outputs: {{/{half}: claim}}"))),
        ("an accelerator", spec(T, "{name: x}", &format!("accelerators: {half}"))),
        ("a file", spec(T, "{name: x}", &format!("config: {{/etc/app: {{a.txt: {half}x}}}}"))),
        ("a kind", spec(&half, "{name: x}", "")),
        ("words beyond number", spec(T, "{name: x}", &format!("command: [{}]", "a,".repeat(10_000)))),
        (
            "variables beyond number",
            spec(T, "{name: x}", &format!("env: {{{}}}", (0..1000).map(|at| format!("A{at}: 1")).collect::<Vec<_>>().join(", "))),
        ),
        ("steps beyond number", spec("Pipeline", "{name: x}", &format!("steps: [{}]", "{name: a, image: 'a/b:1'},".repeat(200)))),
    ] {
        let error = refused(&text);
        assert!(error.len() < 2000, "{what}: a refusal of {} bytes", error.len());
    }
}

#[test]
fn yaml_that_unfolds_without_end_is_refused() {
    let mut bomb = String::from(
        "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {name: x}\nspec:\n  image: a/b:1\n  config:\n    /a: &a0 {x: y}\n",
    );
    for level in 1..40 {
        let before = level - 1;
        writeln!(bomb, "    /l{level}: &a{level} {{a: *a{before}, b: *a{before}, c: *a{before}}}").unwrap();
    }
    let error = refused(&bomb);
    assert!(error.starts_with("line "), "{error}");
    let deep = spec(T, "{name: x}", &format!("config: {{/a: {{b.json: {}1{}}}}}", "[".repeat(5000), "]".repeat(5000)));
    assert!(refused(&deep).starts_with("line "));
}

/// What is refused in a cluster is refused before: nothing of a spec reaches a field that opens the node.
#[test]
fn no_rendering_opens_the_node() {
    for (name, form) in super::specs::all() {
        let text = serde_json::to_string(&super::specs::rendered(name, form)).unwrap();
        for word in
            ["hostPath", "hostNetwork", "hostPID", "hostIPC", "\"privileged\":true", "\"runAsUser\":0", "\"allowPrivilegeEscalation\":true"]
        {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
}
