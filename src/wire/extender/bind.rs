//! bind: names alone, both ways. What the pod asks for is read from the API server.

use serde::Deserialize;

use super::{json, text};
use crate::model::{NodeName, PodKey, PodUid};
use crate::wire::WireError;

const MESSAGE: &str = "bind request";

/// Bind this pod to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindRequest {
    /// Name for the API call.
    pub key: PodKey,
    /// Identity.
    pub uid: PodUid,
    /// The node that kube-scheduler chose.
    pub node: NodeName,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExtenderBindingArgs {
    pod_name: Option<String>,
    pod_namespace: Option<String>,
    #[serde(rename = "PodUID")]
    pod_uid: Option<String>,
    node: Option<String>,
}

/// Reads a bind request.
///
/// # Errors
/// Anything that is not an `ExtenderBindingArgs` with all four names.
pub fn parse_bind(body: &[u8]) -> Result<BindRequest, WireError> {
    let args: ExtenderBindingArgs = serde_json::from_str(text(MESSAGE, body)?).map_err(|error| WireError::unreadable(MESSAGE, &error))?;
    let named = |value: Option<String>, path, expected| {
        value.filter(|name| !name.is_empty()).ok_or(WireError::Missing { message: MESSAGE, path, expected })
    };
    Ok(BindRequest {
        key: PodKey::new(
            named(args.pod_namespace, "PodNamespace", "the pod's namespace")?,
            named(args.pod_name, "PodName", "the pod's name")?,
        ),
        uid: PodUid::new(named(args.pod_uid, "PodUID", "the pod's UID")?),
        node: NodeName::new(named(args.node, "Node", "the node's name")?),
    })
}

/// The answer to bind: done, or why not.
pub fn render_bind(error: Option<&str>) -> Vec<u8> {
    let mut out = br#"{"Error":"#.to_vec();
    json::push_string(&mut out, error.unwrap_or_default());
    out.push(b'}');
    out
}
