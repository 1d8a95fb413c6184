//! What is never written, whatever a spec says: an object outside the spec's own namespace, or a pod that could become more than its
//! author is. Recipes make none of that; this is the second lock.

use serde_json::Value;

use super::Rules;

/// Why these objects of a spec in this namespace are not written.
pub(super) fn refusal(objects: &[Value], namespace: &str, rules: &Rules) -> Option<String> {
    objects.iter().find_map(|object| {
        let what = format!("{} {}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default());
        let elsewhere = object["metadata"]["namespace"].as_str().is_some_and(|named| named != namespace);
        let why = if elsewhere {
            Some("is not in the namespace of its spec".to_owned())
        } else {
            pod_spec(object).and_then(|pod| of_pod(pod, namespace, rules))
        };
        why.map(|why| format!("{what} {why}"))
    })
}

/// Whatever object a pod stands in.
fn pod_spec(object: &Value) -> Option<&Value> {
    let paths = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    paths.iter().find_map(|path| object.pointer(path)).filter(|spec| spec.is_object())
}

fn of_pod(pod: &Value, namespace: &str, rules: &Rules) -> Option<String> {
    if let Some(field) = ["hostNetwork", "hostPID", "hostIPC"].iter().find(|field| pod[**field] == true) {
        return Some(format!("asks for {field}, which the node alone has"));
    }
    if pod["nodeName"].is_string() {
        return Some("names its node, past every scheduler".to_owned());
    }
    for account in [&pod["serviceAccountName"], &pod["serviceAccount"]].into_iter().filter_map(Value::as_str) {
        let full = format!("{namespace}/{account}");
        if !rules.accounts.iter().any(|allowed| allowed == account || *allowed == full) {
            return Some(format!("runs as ServiceAccount {account}, which is not on the list of gangplank-provision run --allow-account"));
        }
    }
    let allowed = ["configMap", "secret", "persistentVolumeClaim", "emptyDir", "name"];
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        if let Some(source) = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).find(|key| !allowed.contains(key)) {
            return Some(format!("mounts a volume of {source}: claims, files, Secrets and scratch space are all there is"));
        }
    }
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let containers = lists.iter().flat_map(|list| pod[*list].as_array().into_iter().flatten());
    { containers }.find_map(of_container).or_else(|| root(&pod["securityContext"]))
}

fn of_container(container: &Value) -> Option<String> {
    let context = &container["securityContext"];
    if context["privileged"] == true {
        return Some("has a privileged container".to_owned());
    }
    if context["allowPrivilegeEscalation"] != false {
        return Some("has a container that may become more than it is".to_owned());
    }
    let added = context["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(capability) = { added }.find(|capability| *capability != "IPC_LOCK") {
        return Some(format!("adds the capability {capability}"));
    }
    if context["procMount"].as_str().is_some_and(|mount| mount != "Default") {
        return Some("opens /proc".to_owned());
    }
    let ports = container["ports"].as_array().into_iter().flatten();
    if { ports }.any(|port| port["hostPort"].as_u64().is_some_and(|port| port > 0)) {
        return Some("takes a port of its node".to_owned());
    }
    root(context)
}

fn root(context: &Value) -> Option<String> {
    (context["runAsUser"] == 0 || context["runAsNonRoot"] == false).then(|| "runs as root".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"spec": {"template": {"spec": {
            "serviceAccountName": "trainer",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000},
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "containers": [{"name": "main", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        }}}, "kind": "Job", "metadata": {"name": "a", "namespace": "team"}})
    }

    fn rules(account: &str) -> Rules {
        Rules { accounts: vec![account.to_owned()] }
    }

    #[test]
    fn what_could_become_more_than_its_author_is_refused() {
        assert_eq!(refusal(&[pod()], "team", &rules("trainer")), None);
        for (path, value, why) in [
            ("/hostNetwork", json!(true), "hostNetwork"),
            ("/hostPID", json!(true), "hostPID"),
            ("/hostIPC", json!(true), "hostIPC"),
            ("/nodeName", json!("node-1"), "names its node"),
            ("/serviceAccountName", json!("admin"), "ServiceAccount admin"),
            ("/serviceAccount", json!("admin"), "ServiceAccount admin"),
            ("/volumes/0/hostPath", json!({"path": "/"}), "a volume of hostPath"),
            ("/volumes/0/csi", json!({}), "a volume of csi"),
            ("/volumes/0/projected", json!({}), "a volume of projected"),
            ("/containers/0/securityContext/privileged", json!(true), "privileged"),
            ("/containers/0/securityContext/allowPrivilegeEscalation", json!(true), "may become more"),
            ("/containers/0/securityContext/capabilities/add", json!(["SYS_ADMIN"]), "SYS_ADMIN"),
            ("/containers/0/securityContext/procMount", json!("Unmasked"), "/proc"),
            ("/containers/0/securityContext/runAsUser", json!(0), "root"),
            ("/containers/0/ports", json!([{"hostPort": 80}]), "a port of its node"),
            ("/initContainers", json!([{"name": "first"}]), "may become more"),
            ("/ephemeralContainers", json!([{"securityContext": {"privileged": true}}]), "privileged"),
            ("/securityContext/runAsUser", json!(0), "root"),
            ("/securityContext/runAsNonRoot", json!(false), "root"),
        ] {
            let mut bad = pod();
            let (at, key) = path.rsplit_once('/').unwrap();
            bad["spec"]["template"]["spec"].pointer_mut(at).unwrap()[key] = value;
            let told = refusal(&[bad], "team", &rules("trainer"));
            assert!(told.as_deref().is_some_and(|told| told.starts_with("Job a ") && told.contains(why)), "{path}: {told:?}");
        }
    }

    #[test]
    fn an_account_may_be_allowed_in_one_namespace_and_nothing_is_written_elsewhere() {
        assert_eq!(refusal(&[pod()], "team", &rules("team/trainer")), None);
        assert!(refusal(&[pod()], "team", &rules("other/trainer")).is_some());
        assert!(refusal(&[pod()], "team", &Rules::default()).is_some());
        assert!(refusal(&[pod()], "other", &rules("trainer")).is_some_and(|told| told.contains("namespace of its spec")));
    }
}
