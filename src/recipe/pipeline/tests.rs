//! Pipelines: order, rings, conditions, and what Argo would read as its own.

use serde_json::{Value, json};

use crate::recipe::{Rendered, SpecError, read};

fn tried(body: &str, form: Option<&str>) -> Result<Rendered, SpecError> {
    let text = format!("apiVersion: gangplank.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n{body}\n");
    read(&text)?[0].render(form)
}

fn last(body: &str, form: Option<&str>) -> Value {
    tried(body, form).unwrap_or_else(|error| panic!("{body}: {error}")).objects.pop().unwrap()
}

#[test]
fn steps_wait_for_those_that_they_come_after() {
    let body = "  steps:\n  - {name: a, image: x/a:1}\n  - {name: b, image: x/b:1, gpu: 2, after: [a], retries: 2}\n  - {name: c, image: x/c:1, after: [a, b]}";
    let workflow = last(body, Some("argo"));
    let templates = workflow["spec"]["templates"].as_array().unwrap();
    assert_eq!(workflow["spec"]["entrypoint"], templates[0]["name"]);
    let tasks = templates[0]["dag"]["tasks"].as_array().unwrap();
    assert_eq!((&tasks[0]["dependencies"], &tasks[2]["dependencies"]), (&Value::Null, &json!(["a", "b"])));
    assert_eq!((&templates[2]["schedulerName"], &templates[2]["retryStrategy"]["limit"]), (&json!("gangplank"), &json!("2")));
    assert_eq!(templates[1]["schedulerName"], Value::Null);
}

#[test]
fn a_step_is_left_out_unless_an_earlier_one_says_yes() {
    let body = "  steps:\n  - {name: test, image: x/a:1}\n  - {name: ship, image: x/b:1, after: [test], onlyIf: {step: test, file: /out/verdict, is: ship}}";
    let templates = last(body, Some("argo"))["spec"]["templates"].clone();
    assert_eq!(templates[1]["outputs"]["parameters"][0], json!({"name": "for-ship", "valueFrom": {"path": "/out/verdict", "default": ""}}));
    assert_eq!(templates[0]["dag"]["tasks"][1]["when"], "{{tasks.test.outputs.parameters.for-ship}} == ship");
}

const SHIP: &str = "  steps:\n  - {name: test, image: x/a:1}\n  - name: ship\n    after: [test]\n    onlyIf: {step: test, file: /out/verdict, is: ship}\n    deploy:\n      name: bert\n      server: {image: 'x/serve:1', cpu: 2, memory: 4Gi, gpu: 1, replicas: 2..8, allowFrom: {pods: {role: frontend}}, monitoring: {latencySeconds: 1, latencyMetric: seconds}, config: {/etc/a: {b.txt: c}}, claims: {c: {size: 1Gi}}}";

#[test]
fn a_step_puts_a_server_into_service_object_by_object_if_an_earlier_one_says_yes() {
    let objects = tried(SHIP, Some("argo")).unwrap().objects;
    let workflow = objects.last().unwrap();
    let templates = workflow["spec"]["templates"].as_array().unwrap();
    let task = &templates[0]["dag"]["tasks"][1];
    assert_eq!((&task["template"], &task["when"]), (&json!("ship"), &json!("{{tasks.test.outputs.parameters.for-ship}} == ship")));
    let list = templates.iter().find(|template| template["name"] == "ship").unwrap()["steps"].as_array().unwrap();
    let applied: Vec<Value> = list
        .iter()
        .map(|group| {
            let template = templates.iter().find(|template| template["name"] == group[0]["template"]).unwrap();
            assert_eq!((&template["resource"]["action"], &template["serviceAccountName"]), (&json!("apply"), &json!("p-deploy")));
            serde_json::from_str(template["resource"]["manifest"].as_str().unwrap()).unwrap()
        })
        .collect();
    // It is what the server would be by itself.
    let server = SHIP.split("server: {").nth(1).unwrap();
    let alone = format!("apiVersion: gangplank.dev/v1alpha1\nkind: ModelServer\nmetadata: {{name: bert}}\nspec: {{{server}\n");
    assert_eq!(applied, read(&alone).unwrap()[0].render(None).unwrap().objects);
    let known = |object: &&Value| super::deploy::KINDS.iter().any(|(kind, ..)| object["kind"] == *kind);
    assert_eq!(applied.iter().filter(known).count(), applied.len(), "{applied:?}");
}

#[test]
fn who_deploys_may_do_that_and_no_more() {
    let objects = tried(SHIP, Some("argo")).unwrap().objects;
    let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
    let rules = of("Role")["rules"].as_array().unwrap();
    for rule in rules {
        let verbs: Vec<&str> = rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
        assert!(verbs == ["create"] || rule["resourceNames"].is_array() || rule["resources"] == json!(["workflowtaskresults"]), "{rule}");
        assert!(!rule.to_string().contains('*') && !rule.to_string().contains("secrets"), "{rule}");
    }
    let named = json!({"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["bert"], "verbs": ["get", "patch"]});
    assert!(rules.contains(&named), "{rules:?}");
    assert_eq!(of("RoleBinding")["roleRef"]["name"], of("Role")["metadata"]["name"]);
    assert_eq!(of("RoleBinding")["subjects"][0]["name"], of("ServiceAccount")["metadata"]["name"]);
}

#[test]
fn one_step_is_a_job_and_by_a_schedule_a_cron_job() {
    assert_eq!(last("  steps: [{name: a, image: x/a:1}]", None)["kind"], "Job");
    let cron = last("  schedule: 0 3 * * *\n  timeZone: Europe/Berlin\n  steps: [{name: a, image: x/a:1, gpu: 8}]", None);
    assert_eq!(
        (&cron["kind"], &cron["spec"]["schedule"], &cron["spec"]["timeZone"]),
        (&json!("CronJob"), &json!("0 3 * * *"), &json!("Europe/Berlin"))
    );
    assert_eq!(last("  schedule: '@daily'\n  steps: [{name: a, image: x/a:1}]", Some("argo"))["kind"], "CronWorkflow");
}

#[test]
fn mistakes_name_line_field_and_remedy() {
    for (body, form, message) in [
        ("  steps: []", None, "spec.steps: 0 is not within 1..=100"),
        ("  steps: [{name: a}]", None, "spec.steps[0].image: is missing"),
        (
            "  steps: [{name: a, gpu: 1, deploy: {name: b, server: {image: 'x/y:1'}}}]",
            Some("argo"),
            "spec.steps[0].gpu: stands in a step that deploys",
        ),
        ("  steps: [{name: a, deploy: {name: b, server: {image: 'x/y:1'}}}]", None, "spec.steps[0].deploy: puts a server into service"),
        ("  steps: [{name: a, deploy: {name: b, server: {runtime: x}}}]", Some("argo"), "spec.steps[0].deploy.server.runtime: there is no"),
        (
            "  steps: [{name: a, deploy: {name: b, server: {image: 'x/y:1', env: {A: '{{workflow.name}}'}}}}]",
            Some("argo"),
            "has `{{` in a text, which Argo reads as its own",
        ),
        (
            "  steps:\n  - {name: a, image: x/a:1, after: [a]}",
            None,
            "line 6: spec.steps[0].after: goes in a ring: a after a; take one of these out",
        ),
        (
            "  steps:\n  - {name: a, image: x/a:1, after: [c]}\n  - {name: b, image: x/a:1, after: [a]}\n  - {name: c, image: x/a:1, after: [b]}",
            None,
            "spec.steps[0].after: goes in a ring: a after c after b after a",
        ),
        ("  steps:\n  - {name: a, image: x/a:1}\n  - {name: a, image: x/a:1}", None, "line 7: spec.steps[1].name: `a` is taken"),
        (
            "  steps:\n  - {name: train, image: x/a:1}\n  - {name: b, image: x/a:1, after: [trian]}",
            None,
            "there is no step `trian`; did you mean `train`?",
        ),
        (
            "  steps:\n  - {name: a, image: x/a:1}\n  - {name: b, image: x/a:1}",
            None,
            "spec.steps: are 2, and plain Kubernetes keeps no order; render --as argo",
        ),
        ("  schedule: daily\n  steps: [{name: a, image: x/a:1}]", None, "spec.schedule: `daily` is no schedule"),
        (
            "  steps: [{name: a, image: x/a:1, command: ['echo {{workflow.uid}}']}]",
            Some("argo"),
            "spec.steps[0]: has `{{` in a text, which Argo reads as its own",
        ),
        (
            "  steps:\n  - {name: a, image: x/a:1}\n  - {name: b, image: x/a:1, onlyIf: {step: a, file: /x, is: yes}}",
            None,
            "spec.steps[1].onlyIf.step: names `a`, which need not have ended before; add that step to `after`",
        ),
        ("  steps: [{name: a, image: x/a:1, onlyIf: {step: a, file: /x, is: \"x' || true\"}}]", None, "is not the value of a label"),
    ] {
        let error = tried(body, form).map(|made| format!("{made:?}")).unwrap_err().to_string();
        assert!(error.contains(message), "{body}: {error}");
    }
}
