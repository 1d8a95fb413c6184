//! TLS from the client to the pod: where certificate and key come from, who speaks it, and who is told to expect it. A
//! program that can do it on every port does; beside the others stands a proxy (`proxy.rs`). Why so: docs/decisions/0022-tls-in-the-pod.md.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::runtime::{Runtime, Start};
use super::{Port, proxy};
use crate::policy::Mistake;
use crate::recipe::object::Named;
use crate::recipe::pod::Around;
use crate::recipe::storage::Storage;
use crate::recipe::text;

/// TLS from the client to the pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TlsFile {
    /// A Secret of type kubernetes.io/tls that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// cert-manager's Issuer of the namespace that makes the certificate, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// cert-manager's ClusterIssuer that makes the certificate, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_issuer: Option<String>,
    /// What the certificate is for, the first of which a Gateway and Prometheus expect; the Service's names if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
    /// ConfigMap whose ca.crt a Gateway and Prometheus check it by; whoever their systems trust if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    /// Whether a proxy in the pod speaks TLS for the server; runtimes that cannot have one anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<bool>,
    /// The proxy's image, of nginx from 1.20 on; nginx:1.28 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy_image: Option<String>,
}

/// What the API server checks of it.
pub(super) const RULE: (&str, &str) = (
    "!has(self.tls) || [has(self.tls.secret), has(self.tls.issuer), has(self.tls.clusterIssuer)].filter(is, is).size() == 1",
    "tls names one of secret, issuer and clusterIssuer",
);

/// Checked.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    secret: String,
    /// Kind and name of who signs; absent where the Secret is there.
    issuer: Option<(&'static str, String)>,
    hosts: Vec<String>,
    ca: Option<String>,
    /// Its image, where there is a proxy.
    proxy: Option<String>,
}

impl TlsFile {
    pub(super) fn check(self, of: &Named, runtime: &Runtime) -> Result<Tls, Mistake> {
        let named = [
            ("secret", "Secret", &self.secret),
            ("issuer", "Issuer", &self.issuer),
            ("clusterIssuer", "ClusterIssuer", &self.cluster_issuer),
            ("ca", "ConfigMap", &self.ca),
        ];
        for (field, what, name) in named {
            name.as_ref().map_or(Ok(()), |name| text::reference(field, what, name))?;
        }
        if self.hosts.len() > HOSTS_MAX {
            return Err(Mistake::new("hosts", format!("has {} names", self.hosts.len()), format!("keep it within {HOSTS_MAX}")));
        }
        self.hosts.iter().enumerate().try_for_each(|(at, host)| text::reference(&format!("hosts[{at}]"), "host", host))?;
        let (secret, issuer) = match (self.secret, self.issuer, self.cluster_issuer) {
            (Some(secret), None, None) => (secret, None),
            (None, Some(issuer), None) => (format!("{}-tls", of.name), Some(("Issuer", issuer))),
            (None, None, Some(issuer)) => (format!("{}-tls", of.name), Some(("ClusterIssuer", issuer))),
            _ => {
                let remedy = "write `secret` for one that is there, or `issuer` or `clusterIssuer` for cert-manager to make it";
                return Err(Mistake::new("", "does not say in one way where the certificate comes from", remedy));
            }
        };
        let proxy = match (self.proxy, &runtime.tls.itself) {
            (Some(false), Err(why)) => {
                return Err(Mistake::new("proxy", format!("is false, and {} {why}", runtime.name), "leave it out"));
            }
            (Some(true), _) | (None, Err(_)) => Some(self.proxy_image.unwrap_or_else(|| proxy::IMAGE.to_owned())),
            (_, Ok(_)) if self.proxy_image.is_some() => {
                return Err(Mistake::new("proxyImage", "stands without a proxy", "add `proxy: true`, or leave it out"));
            }
            (_, Ok(_)) => None,
        };
        proxy.as_ref().map_or(Ok(()), |image| text::image("proxyImage", image))?;
        Ok(Tls { secret, issuer, hosts: self.hosts, ca: self.ca, proxy })
    }
}

impl Tls {
    pub(super) fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// Certificate and key go to whoever speaks TLS, and to nobody else.
    pub(super) fn mount(&self, storage: &mut Storage) -> Result<(), Mistake> {
        if storage.is_mounted(FOLDER) {
            return Err(Mistake::new("tls", format!("is mounted on {FOLDER}, where something else is already"), "mount that elsewhere"));
        }
        if self.proxy.is_none() {
            storage.add_secret(FOLDER, &self.secret);
        }
        Ok(())
    }

    /// The ways in, of these plain ones.
    pub(super) fn ports(&self, mut ports: Vec<Port>) -> Vec<Port> {
        if self.proxy.is_none() {
            // Metrics on a port of their own are the program's own affair.
            for port in ports.iter_mut().filter(|port| port.name != "metrics") {
                (port.name, port.tls) = (name(port.name), true);
            }
            return ports;
        }
        let taken: Vec<u16> = ports.iter().map(|port| port.program).collect();
        let free = (proxy::PORT..).filter(|number| !taken.contains(number));
        for (port, number) in ports.iter_mut().zip(free) {
            (port.name, port.number, port.tls) = (name(port.name), number, true);
        }
        ports
    }

    /// Tells the program of it: how to speak it, or to leave that to the proxy.
    pub(super) fn start(&self, start: &mut Start, runtime: &Runtime) {
        let words: &[&str] = match &runtime.tls.itself {
            Ok(itself) if self.proxy.is_none() => {
                start.env.extend(itself.env.iter().map(|(name, value)| (*name, (*value).to_owned())));
                itself.args
            }
            _ => runtime.tls.alone,
        };
        start.command.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// The proxy, where there is one.
    pub(super) fn beside(&self, of: &Named, ports: &[Port], around: &mut Around) {
        let Some(image) = &self.proxy else { return };
        around.pod.insert("initContainers".to_owned(), json!([proxy::container(image, ports)]));
        around.volumes.extend(proxy::volumes(of, &self.secret));
    }

    /// What has to be there before pods are: the Certificate, the proxy's file.
    pub(super) fn objects(&self, of: &Named, ports: &[Port]) -> Vec<Value> {
        let certificate = self.issuer.as_ref().map(|(kind, issuer)| {
            let hosts = if self.hosts.is_empty() { service_names(of) } else { self.hosts.clone() };
            json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "Certificate",
                "metadata": of.metadata(&self.secret),
                "spec": {
                    "secretName": self.secret,
                    "dnsNames": hosts,
                    "issuerRef": {"group": "cert-manager.io", "kind": kind, "name": issuer},
                    "usages": ["digital signature", "key encipherment", "server auth"],
                    // A key that got out is of use until the next renewal, and no longer.
                    "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
                },
            })
        });
        certificate.into_iter().chain(self.proxy.as_ref().map(|_| proxy::config(of, ports))).collect()
    }

    /// By which name it is expected.
    fn host(&self, of: &Named) -> String {
        self.hosts.first().cloned().unwrap_or_else(|| match &of.namespace {
            Some(namespace) => format!("{}.{namespace}.svc", of.name),
            None => of.name.clone(),
        })
    }

    /// `tlsConfig` of a ServiceMonitor.
    pub(super) fn prometheus(&self, of: &Named) -> Value {
        let mut config = json!({"serverName": self.host(of)});
        if let Some(ca) = &self.ca {
            config["ca"] = json!({"configMap": {"name": ca, "key": "ca.crt"}});
        }
        config
    }

    /// What tells a Gateway that these Services want TLS: one each, for more targets than one are not for every Gateway.
    pub(super) fn policies(&self, of: &Named, services: &[String]) -> Vec<Value> {
        let mut validation = json!({"hostname": self.host(of)});
        match &self.ca {
            Some(ca) => validation["caCertificateRefs"] = json!([{"group": "", "kind": "ConfigMap", "name": ca}]),
            None => validation["wellKnownCACertificates"] = json!("System"),
        }
        let policy = |service: &String| {
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "BackendTLSPolicy",
                "metadata": of.metadata(service),
                "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": service}], "validation": validation},
            })
        };
        services.iter().map(policy).collect()
    }

    /// What its author may want to know.
    pub(super) fn notes(&self, of: &Named, runtime: &Runtime, own_command: bool, is_monitored: bool) -> Vec<String> {
        let mut notes = Vec::new();
        let itself = runtime.tls.itself.as_ref().ok().filter(|_| self.proxy.is_none());
        notes.extend(itself.and_then(|itself| itself.note).map(str::to_owned));
        let words = itself.map_or(runtime.tls.alone, |itself| itself.args);
        if own_command && !words.is_empty() {
            notes.push(format!("the command is your own: for TLS it needs {}", words.join(" ")));
        }
        if self.proxy.is_some() && runtime.tls.alone.is_empty() {
            notes.push(
                "the program listens to everybody beside the proxy: the NetworkPolicy shuts that out where the network enforces it".into(),
            );
        }
        if self.issuer.is_some() && self.hosts.is_empty() && of.namespace.is_none() {
            notes.push(format!("the certificate is for `{0}` alone: with metadata.namespace it is for {0}.NAMESPACE.svc, too", of.name));
        }
        if self.ca.is_none() && is_monitored {
            notes.push("no tls.ca: Prometheus reads metrics only if it trusts the signer anyway; name a ConfigMap with ca.crt".into());
        }
        notes
    }
}

/// What a port is called where TLS is spoken: the protocol first, as meshes read it.
pub(super) fn name(plain: &str) -> &str {
    match plain {
        "http" => "https",
        "grpc" => "https-grpc",
        "metrics" => "https-metrics",
        other => other,
    }
}

/// What the Service is called by within the cluster.
fn service_names(of: &Named) -> Vec<String> {
    let name = &of.name;
    let long =
        of.namespace.iter().flat_map(|it| [format!("{name}.{it}"), format!("{name}.{it}.svc"), format!("{name}.{it}.svc.cluster.local")]);
    std::iter::once(name.clone()).chain(long).collect()
}

/// Where certificate and key are, `tls.crt` and `tls.key`; runtimes name it in their arguments.
pub(super) const FOLDER: &str = "/etc/gangplank/tls";
const HOSTS_MAX: usize = 32;
