//! The table on a real API server: every request as the case's user (impersonated), every change a dry run, admission included.

use axum::http::{Method, Request, header};
use kube::Client;
use serde_json::{Value, json};

use super::table::{Act, Case, Outcome, Table, User};

/// Runs the cases and returns what is wrong, one line a case.
pub(super) async fn run<'a>(client: &Client, cases: impl IntoIterator<Item = &'a Case>) -> Vec<String> {
    let mut complaints = Vec::new();
    for case in cases {
        complaints.extend(case.complaint(&outcome(client, case).await));
    }
    complaints
}

async fn outcome(client: &Client, case: &Case) -> Outcome {
    let mut given_at = None;
    if let Some((user, object)) = &case.given {
        let collection = collection(object, &case.namespace);
        send(client, user, &Method::POST, &collection, None, object).await.map_err(|text| format!("given: {text}"))?;
        given_at = Some(format!("{collection}/{}", case.object_name));
    }
    let via = case.via.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
    let came_of_it = match &case.act {
        Act::Create(object) if case.via.is_some() => {
            let owner = given_at.clone().unwrap_or_else(|| panic!("{}: a subresource needs what is given", case.name));
            send(client, &case.user, &Method::POST, &format!("{owner}{via}?dryRun=All"), None, object).await
        }
        Act::Create(object) => {
            let collection = collection(object, &case.namespace);
            send(client, &case.user, &Method::POST, &format!("{collection}?dryRun=All"), None, object).await
        }
        Act::Apply(patch) => {
            let at = given_at.clone().unwrap_or_else(|| panic!("{}: to apply something needs what is given", case.name));
            let kind = Some("application/strategic-merge-patch+json");
            send(client, &case.user, &Method::PATCH, &format!("{at}{via}?dryRun=All"), kind, patch).await
        }
    };
    if let Some(path) = given_at {
        let now = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        send(client, &administrator(), &Method::DELETE, &path, None, &now).await.map_err(|text| format!("clean up: {text}"))?;
    }
    came_of_it
}

/// Creates the object as a tenant, or rather sees what would come of it.
pub(super) async fn create_as_tenant(client: &Client, namespace: &str, object: &Value) -> Outcome {
    let tenant = User { user: "tess".into(), groups: vec!["tenants".into()] };
    send(client, &tenant, &Method::POST, &format!("{}?dryRun=All", collection(object, namespace)), None, object).await
}

async fn send(client: &Client, user: &User, method: &Method, path: &str, content_type: Option<&str>, body: &Value) -> Outcome {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type.unwrap_or("application/json"))
        .header("Impersonate-User", &user.user)
        .header("Impersonate-Group", "system:authenticated");
    for group in &user.groups {
        request = request.header("Impersonate-Group", group);
    }
    let request = request.body(serde_json::to_vec(body).expect("JSON of JSON")).expect("a request of well-formed parts");
    client.request::<Value>(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => format!("no answer: {other}"),
    })
}

fn collection(object: &Value, namespace: &str) -> String {
    let kind = object["kind"].as_str().expect("every object has a kind");
    let group = match object["apiVersion"].as_str().expect("every object has a version") {
        "v1" => "api/v1".to_owned(),
        version => format!("apis/{version}"),
    };
    if kind == "Namespace" { "/api/v1/namespaces".into() } else { format!("/{group}/namespaces/{namespace}/{}s", kind.to_lowercase()) }
}

fn administrator() -> User {
    User { user: "root".into(), groups: vec!["system:masters".into()] }
}

/// The table's namespaces with an account to run pods as, and everybody allowed everything but to opt namespaces in.
pub(super) async fn prepare(client: &Client, table: &Table) -> Result<(), String> {
    let root = administrator();
    for (name, labels) in &table.namespaces {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        match send(client, &root, &Method::POST, "/api/v1/namespaces", None, &namespace).await {
            Err(text) if text.contains("already exists") => {
                let patch = Some("application/merge-patch+json");
                send(client, &root, &Method::PATCH, &format!("/api/v1/namespaces/{name}"), patch, &namespace).await?;
            }
            created => drop(created?),
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let _exists = send(client, &root, &Method::POST, &format!("/api/v1/namespaces/{name}/serviceaccounts"), None, &account).await;
    }
    let may_do = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let roles = [
        ("everything-built-in", vec![may_do(&["", "apps", "batch"], &["*"], &["*"])], "system:authenticated"),
        ("opt-namespaces-in", vec![may_do(&["gangplank.dev"], &["namespaces"], &["manage"])], "operators"),
    ];
    let group = "rbac.authorization.k8s.io";
    for (name, may, subject) in roles {
        let role = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": may});
        let grant = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": subject}]});
        for (plural, object) in [("clusterroles", role), ("clusterrolebindings", grant)] {
            match send(client, &root, &Method::POST, &format!("/apis/{group}/v1/{plural}"), None, &object).await {
                Err(text) if text.contains("already exists") => {}
                created => drop(created?),
            }
        }
    }
    Ok(())
}
