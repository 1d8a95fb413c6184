//! A proxy in the pod that speaks TLS for a server that cannot: nginx, started before the server and ended after it. Of a
//! spec nothing but numbers of ports gets into its file.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Port, tls};
use crate::recipe::object::Named;
use crate::recipe::pod::{resources, restricted};

/// What is fixed in TLS is wanted without a new spec: the tag moves with its patches.
pub(super) const IMAGE: &str = "nginx:1.28";
/// Its first port.
pub(super) const PORT: u16 = 8443;

/// The container: one that is started first and goes on beside the others.
pub(super) fn container(image: &str, ports: &[Port]) -> Value {
    let mut context = restricted();
    context["readOnlyRootFilesystem"] = json!(true);
    let ports: Vec<Value> = ports.iter().map(|port| json!({"name": port.name, "containerPort": port.number})).collect();
    json!({
        "name": "tls",
        "image": image,
        // The image's own script writes into the image; this needs nothing of it.
        "command": ["nginx", "-e", "stderr", "-c", format!("{FOLDER}/{FILE}")],
        "restartPolicy": "Always",
        "ports": ports,
        "resources": resources(None, Some("500m"), Some("256Mi"), Vec::new()),
        "securityContext": context,
        "volumeMounts": [
            {"name": "tls", "mountPath": tls::FOLDER, "readOnly": true},
            {"name": "tls-proxy", "mountPath": FOLDER, "readOnly": true},
            {"name": "tls-tmp", "mountPath": "/tmp"},
        ],
    })
}

pub(super) fn volumes(of: &Named, secret: &str) -> [Value; 3] {
    [
        json!({"name": "tls", "secret": {"secretName": secret, "defaultMode": 0o440}}),
        json!({"name": "tls-proxy", "configMap": {"name": config_name(of)}}),
        json!({"name": "tls-tmp", "emptyDir": {"sizeLimit": "64Mi"}}),
    ]
}

/// Its file.
pub(super) fn config(of: &Named, ports: &[Port]) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": of.metadata(&config_name(of)), "data": {FILE: text(ports)}})
}

/// Nothing is kept back on a disk: requests and answers go through as they come, streams for as long as they last.
fn text(ports: &[Port]) -> String {
    let mut text = format!("{HEAD}    map $ssl_server_name $keys {{\n        default {};\n    }}\n", tls::FOLDER);
    for Port { name, number, program, .. } in ports {
        let (http2, pass) = if *name == "https-grpc" { (" http2", "grpc_pass grpc") } else { ("", "proxy_pass http") };
        let _ = write!(
            text,
            "    upstream {name} {{\n        server 127.0.0.1:{program};\n        keepalive 64;\n        keepalive_timeout 20s;\n    }}\n    \
             server {{\n        listen {number} ssl{http2};\n        location / {{\n            {pass}://{name};\n        }}\n    }}\n"
        );
    }
    text + "}\n"
}

fn config_name(of: &Named) -> String {
    format!("{}-tls-proxy", of.name)
}

const FOLDER: &str = "/etc/gangplank/proxy";
const FILE: &str = "nginx.conf";

const HEAD: &str = "\
# Speaks TLS for the server beside it, which listens on 127.0.0.1.
daemon off;
worker_processes 2;
pid /tmp/nginx.pid;
error_log stderr warn;
events {
    worker_connections 4096;
}
http {
    access_log off;
    server_tokens off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    ssl_protocols TLSv1.2 TLSv1.3;
    # A path with a variable in it is read at each handshake: what is renewed is used at once.
    ssl_certificate $keys/tls.crt;
    ssl_certificate_key $keys/tls.key;
    client_max_body_size 0;
    client_body_timeout 1h;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection \"\";
    proxy_set_header X-Forwarded-Proto https;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;
    grpc_read_timeout 1h;
    grpc_send_timeout 1h;
";
