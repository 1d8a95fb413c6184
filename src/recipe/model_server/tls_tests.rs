//! TLS to the pod: whoever can speak it does, a proxy stands before the others, and all who ask are told.

use serde_json::{Value, json};

use super::tests::{of_kind, rendered, tried};

const VLLM: &str = "runtime: vllm\nmodel: hf://org/model\ngpu: 1\ncpu: 1\nmemory: 8Gi";
const TRITON: &str = "runtime: triton\nmodel: models\ngpu: 1\nreplicas: 2\nmonitoring: {}";

fn pod(objects: &[Value]) -> &Value {
    &of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str()).collect()
}

#[test]
fn vllm_speaks_tls_itself_and_reads_anew_what_is_renewed() {
    let objects = rendered(&format!("{VLLM}\ntls: {{secret: model-tls, ca: team-ca}}\nmonitoring: {{}}"), None);
    let (pod, container) = (pod(&objects), &pod(&objects)["containers"][0]);
    let command = container["command"].to_string();
    for word in ["--ssl-certfile=/etc/gangplank/tls/tls.crt", "--ssl-keyfile=/etc/gangplank/tls/tls.key", "--enable-ssl-refresh"] {
        assert!(command.contains(word), "{command}");
    }
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "model-tls");
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/gangplank/tls");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"], json!({"path": "/health", "port": 8000, "scheme": "HTTPS"}), "{probe}");
    }
    assert!(pod["initContainers"].is_null() && of_kind(&objects, "NetworkPolicy").is_empty());
    let port = &of_kind(&objects, "Service")[0]["spec"]["ports"];
    assert_eq!(*port, json!([{"name": "https", "port": 8000, "targetPort": 8000, "appProtocol": "https"}]));
    let endpoint = &of_kind(&objects, "ServiceMonitor")[0]["spec"]["endpoints"][0];
    let config = json!({"serverName": "bert", "ca": {"configMap": {"name": "team-ca", "key": "ca.crt"}}});
    assert_eq!((&endpoint["port"], &endpoint["scheme"], &endpoint["tlsConfig"]), (&json!("https"), &json!("https"), &config));
}

#[test]
fn before_triton_stands_a_proxy_on_every_port_and_it_listens_to_nobody_else() {
    let objects = rendered(&format!("{TRITON}\ntls: {{issuer: internal}}"), None);
    let (pod, container) = (pod(&objects), &pod(&objects)["containers"][0]);
    let command = container["command"].to_string();
    for word in ["--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"] {
        assert!(command.contains(word), "{command}");
    }
    assert!(!names(&container["volumeMounts"]).contains(&"tls"), "the key is the proxy's alone: {container}");
    let proxy = &pod["initContainers"][0];
    assert_eq!((&proxy["image"], &proxy["restartPolicy"]), (&json!("nginx:1.28"), &json!("Always")));
    assert_eq!(proxy["securityContext"]["readOnlyRootFilesystem"], true);
    let volumes = names(&pod["volumes"]);
    assert!(names(&proxy["volumeMounts"]).iter().all(|name| volumes.contains(name)), "{pod}");
    assert_eq!(names(&proxy["ports"]), ["https", "https-grpc", "https-metrics"]);
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/v2/health/ready", "port": 8443, "scheme": "HTTPS"}));
    let service = &of_kind(&objects, "Service")[0]["spec"]["ports"];
    assert_eq!(service[1], json!({"name": "https-grpc", "port": 8444, "targetPort": 8444, "appProtocol": "https"}));
    assert_eq!(of_kind(&objects, "ServiceMonitor")[0]["spec"]["endpoints"][0]["port"], "https-metrics");
    let text = of_kind(&objects, "ConfigMap")[0]["data"]["nginx.conf"].as_str().unwrap();
    for line in ["listen 8443 ssl;", "listen 8444 ssl http2;", "server 127.0.0.1:8001;", "grpc_pass grpc://https-grpc;"] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn what_cannot_listen_to_the_proxy_alone_is_shut_by_the_network() {
    let body = "runtime: tensorflow-serving\nmodel: models\ntls: {secret: model-tls}";
    let objects = rendered(body, None);
    let open = json!([{"ports": [{"protocol": "TCP", "port": 8443}, {"protocol": "TCP", "port": 8444}]}]);
    assert_eq!(of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"], open);
    let notes = tried(body, None).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("where the network enforces it")), "{notes:?}");
    let objects = rendered(&format!("{body}\nallowFrom: {{pods: {{role: web}}}}\nmonitoring: {{}}"), None);
    let ingress = &of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"];
    assert_eq!(ingress[0]["from"][0]["podSelector"]["matchLabels"]["role"], "web");
    assert_eq!(ingress[1]["ports"], json!([{"protocol": "TCP", "port": 8443}]), "metrics are on the port of REST");
}

#[test]
fn cert_manager_is_asked_for_the_names_that_clients_use() {
    for (tls, kind, hosts) in [
        ("{issuer: internal}", "Issuer", json!(["bert"])),
        ("{clusterIssuer: public, hosts: [bert.example.com]}", "ClusterIssuer", json!(["bert.example.com"])),
    ] {
        let objects = rendered(&format!("{VLLM}\ntls: {tls}"), None);
        let certificate = of_kind(&objects, "Certificate")[0];
        assert_eq!((&certificate["spec"]["issuerRef"]["kind"], &certificate["spec"]["dnsNames"]), (&json!(kind), &hosts));
        assert_eq!(certificate["spec"]["secretName"], pod(&objects)["volumes"][0]["secret"]["secretName"]);
        let place = |kind: &str| objects.iter().position(|object| object["kind"] == kind);
        assert!(place("Certificate") < place("Deployment"));
    }
    let text = "apiVersion: gangplank.dev/v1alpha1\nkind: ModelServer\nmetadata: {name: bert, namespace: nlp}\nspec: {image: 'a/b:1', tls: {issuer: i}}";
    let objects = crate::recipe::read(text).unwrap()[0].render(None).unwrap().objects;
    let hosts = json!(["bert", "bert.nlp", "bert.nlp.svc", "bert.nlp.svc.cluster.local"]);
    assert_eq!(of_kind(&objects, "Certificate")[0]["spec"]["dnsNames"], hosts);
    let env = pod(&objects)["containers"][0]["env"].to_string();
    assert!(env.contains("TLS_CERT_FILE") && env.contains("/etc/gangplank/tls/tls.key"), "{env}");
}

#[test]
fn a_gateway_is_told_that_each_service_wants_tls() {
    let body = format!(
        "{VLLM}\nreplicas: 2..9\nroute: {{gateway: public}}\ncanary: {{image: 'a/b:2', weight: 10}}\ntls: {{secret: model-tls, hosts: [bert.example.com], ca: team-ca}}"
    );
    let objects = rendered(&body, Some("httproute"));
    let policies = of_kind(&objects, "BackendTLSPolicy");
    let targets: Vec<&Value> = policies.iter().map(|policy| &policy["spec"]["targetRefs"][0]["name"]).collect();
    assert_eq!(targets, ["bert", "bert-candidate"]);
    let validation = &policies[0]["spec"]["validation"];
    assert_eq!((&validation["hostname"], &validation["caCertificateRefs"][0]["name"]), (&json!("bert.example.com"), &json!("team-ca")));
    let proxied = rendered(&format!("{TRITON}\nroute: {{gateway: public}}\ntls: {{issuer: i}}"), Some("httproute"));
    assert_eq!(of_kind(&proxied, "HTTPRoute")[0]["spec"]["rules"][0]["backendRefs"][0]["port"], 8443);
    assert_eq!(of_kind(&proxied, "BackendTLSPolicy")[0]["spec"]["validation"]["wellKnownCACertificates"], "System");
}

#[test]
fn a_proxy_stands_before_a_program_that_speaks_no_tls_and_off_its_ports() {
    let objects = rendered(
        "image: a/b:1\nport: 8443\nmonitoring: {port: 8445}\ntls: {secret: s, proxy: true, proxyImage: 'registry.example.com/nginx:1.28.0'}",
        None,
    );
    let pod = pod(&objects);
    let numbers: Vec<&Value> = pod["initContainers"][0]["ports"].as_array().unwrap().iter().map(|port| &port["containerPort"]).collect();
    assert_eq!(numbers, [8444, 8446]);
    assert_eq!(pod["initContainers"][0]["image"], "registry.example.com/nginx:1.28.0");
    assert_eq!(pod["containers"][0]["readinessProbe"]["tcpSocket"]["port"], 8443, "the program's: a proxy takes connections before it");
}

#[test]
fn mistakes_of_tls_name_field_and_remedy() {
    for (body, form, message) in [
        ("tls: {}", None, "spec.tls: does not say in one way where the certificate comes from"),
        ("tls: {secret: a, issuer: b}", None, "spec.tls: does not say in one way"),
        ("tls: {secret: other/tls}", None, "spec.tls.secret: `other/tls` is not the name of a Secret"),
        ("tls: {secret: a, hosts: ['*.example.com']}", None, "spec.tls.hosts[0]: `*.example.com` is not the name of a host"),
        ("tls: {secret: a, proxyImage: 'a/b:1'}", None, "spec.tls.proxyImage: stands without a proxy"),
        ("tls: {secret: a}\ndatasets: {/etc/gangplank/tls: claim}", None, "is mounted on /etc/gangplank/tls"),
        (
            "runtime: triton\nmodel: m\ntls: {secret: a, proxy: false}",
            None,
            "spec.tls.proxy: is false, and triton speaks TLS by gRPC alone",
        ),
        ("runtime: vllm\nmodel: m\ntls: {secret: a}", Some("kserve"), "spec.tls: has no place with KServe"),
        ("tls: {secret: a}", Some("knative"), "spec.tls: has no place with Knative"),
    ] {
        let body = if body.starts_with("runtime") { body.to_owned() } else { format!("image: a/b:1\n{body}") };
        let error = tried(&body, form).map(|made| format!("{made:?}")).unwrap_err().to_string();
        assert!(error.contains(message), "{body}: {error}");
    }
}
