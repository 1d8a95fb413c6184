//! Objects of others that say where nodes are: Kueue's Topology and Volcano's HyperNode. Read leniently: what is not
//! there, or is of a kind that we do not know, selects nothing.

use std::sync::Arc;

use serde_json::Value;

use crate::model::{Constraints, Operator, Requirement};
use crate::topology::fabric::{HyperNode, Member, Selector};

/// Name and label keys, widest first, of a `Topology` of `kueue.x-k8s.io`; none for anything else.
pub fn kueue_topology(object: &Value) -> Option<(Arc<str>, Vec<Arc<str>>)> {
    is_of(object, "kueue.x-k8s.io/", "Topology").then_some(())?;
    Some((object["metadata"]["name"].as_str()?.into(), label_keys(&object["spec"])?))
}

/// Label keys, widest first, of a Topology's `spec`.
pub fn label_keys(spec: &Value) -> Option<Vec<Arc<str>>> {
    let levels = spec["levels"].as_array()?;
    Some(levels.iter().filter_map(|level| level["nodeLabel"].as_str()).map(Arc::from).collect())
}

/// A `HyperNode` of `topology.volcano.sh`; none for anything else.
pub fn hyper_node(object: &Value) -> Option<HyperNode> {
    is_of(object, "topology.volcano.sh/", "HyperNode").then_some(())?;
    hyper_node_of(object["metadata"]["name"].as_str()?, &object["spec"])
}

/// The HyperNode of a name and `spec`.
pub fn hyper_node_of(name: &str, spec: &Value) -> Option<HyperNode> {
    let members = spec["members"].as_array().into_iter().flatten();
    Some(HyperNode {
        name: name.into(),
        tier: spec["tier"].as_u64().and_then(|tier| u32::try_from(tier).ok())?,
        tier_name: spec["tierName"].as_str().filter(|name| !name.is_empty()).map(Arc::from),
        members: members.filter_map(member).collect(),
    })
}

fn is_of(object: &Value, group: &str, kind: &str) -> bool {
    object["kind"] == kind && object["apiVersion"].as_str().is_some_and(|version| version.starts_with(group))
}

fn member(member: &Value) -> Option<Member> {
    let selector = &member["selector"];
    let text = |value: &Value| value.as_str().map(Arc::from);
    let exact = text(&selector["exactMatch"]["name"]).map(Selector::Exact);
    let pattern = || text(&selector["regexMatch"]["pattern"]).map(Selector::Pattern);
    let labels = || selector["labelMatch"].is_object().then(|| Selector::Labels(constraints(&selector["labelMatch"])));
    Some(Member { hyper_nodes: member["type"] == "HyperNode", selector: exact.or_else(pattern).or_else(labels)? })
}

fn constraints(selector: &Value) -> Constraints {
    let equal = |(key, value): (&String, &Value)| Requirement {
        key: key.as_str().into(),
        field: false,
        operator: Operator::In,
        values: vec![value.as_str().unwrap_or_default().into()],
    };
    let labels = selector["matchLabels"].as_object().into_iter().flatten().map(equal);
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().filter_map(super::manifest::expression);
    Constraints { node_selector: labels.chain(expressions).collect(), ..Constraints::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_topology_is_its_label_keys_in_order() {
        let object = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Topology", "metadata": {"name": "dc"},
            "spec": {"levels": [{"nodeLabel": "dc/block"}, {"nodeLabel": "dc/rack"}, {"nodeLabel": "kubernetes.io/hostname"}]}});
        let (name, keys) = kueue_topology(&object).unwrap();
        assert_eq!((&*name, keys.join(" ")), ("dc", "dc/block dc/rack kubernetes.io/hostname".to_owned()));
        assert!(hyper_node(&object).is_none());
    }

    #[test]
    fn members_of_a_hyper_node_are_named_matched_or_labelled() {
        let object = json!({"apiVersion": "topology.volcano.sh/v1alpha1", "kind": "HyperNode", "metadata": {"name": "s0"},
            "spec": {"tier": 1, "tierName": "leaf", "members": [
                {"type": "Node", "selector": {"exactMatch": {"name": "n0"}}},
                {"type": "HyperNode", "selector": {"regexMatch": {"pattern": "^s[0-9]+$"}}},
                {"type": "Node", "selector": {"labelMatch": {"matchLabels": {"rack": "1"},
                    "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}}},
                {"type": "Node", "selector": {}}]}});
        let hyper_node = hyper_node(&object).unwrap();
        assert_eq!((hyper_node.tier, hyper_node.tier_name.as_deref(), hyper_node.members.len()), (1, Some("leaf"), 3));
        assert_eq!(hyper_node.members[0], Member { hyper_nodes: false, selector: Selector::Exact("n0".into()) });
        assert!(hyper_node.members[1].hyper_nodes);
        assert!(matches!(&hyper_node.members[2].selector, Selector::Labels(labels) if labels.node_selector.len() == 2));
        assert!(kueue_topology(&object).is_none());
    }
}
