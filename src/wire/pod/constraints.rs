//! Node constraints of a pod, with the corners of the API: an empty term matches nothing, an empty operator is Equal,
//! and a word that we do not know never widens what a pod may use.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::meta;
use super::{LabelSelector, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec, TolerationObject};
use crate::model::{Constraints, Operator, Requirement, TaintEffect, Toleration};

/// What kube-scheduler checks and a planner must respect.
pub(super) fn read(spec: &PodSpec, metadata: &ObjectMeta) -> Constraints {
    let required = spec.affinity.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    Constraints {
        node_selector: spec.node_selector.iter().map(equals).collect(),
        node_affinity: required.map(terms),
        tolerations: spec.tolerations.iter().filter_map(toleration).collect(),
        apart: spec.affinity.pod_anti_affinity.iter().flat_map(|affinity| &affinity.required).any(|term| repels(term, metadata)),
        volumes: Vec::new(),
    }
}

/// Whether a term of anti-affinity keeps the pod off nodes where one with its labels is.
fn repels(term: &PodAffinityTerm, metadata: &ObjectMeta) -> bool {
    let Some(selector) = term.label_selector.as_ref().filter(|_| term.topology_key == "kubernetes.io/hostname") else { return false };
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    let labels = meta::labels(metadata);
    let wanted = label_selector(selector);
    (term.namespaces.is_empty() || term.namespaces.iter().any(|name| name == namespace))
        && wanted.is_some_and(|wanted| wanted.iter().all(|requirement| requirement.satisfied(&labels)))
}

/// What a label selector requires, all of it; none where it cannot be read.
pub(in crate::wire) fn label_selector(selector: &LabelSelector) -> Option<Vec<Requirement>> {
    let labels = selector.match_labels.iter().map(|entry| Some(equals(entry)));
    labels.chain(selector.match_expressions.iter().map(|expression| requirement(expression, false))).collect()
}

fn equals((key, value): (&String, &String)) -> Requirement {
    Requirement { key: Arc::from(key.as_str()), field: false, operator: Operator::In, values: vec![Arc::from(value.as_str())] }
}

/// Whether in-tree scores matter to this pod.
pub(super) fn has_preferences(spec: &PodSpec) -> bool {
    let affinity = &spec.affinity;
    affinity.node_affinity.as_ref().is_some_and(|affinity| !affinity.preferred.is_empty())
        || affinity.pod_affinity.as_ref().is_some_and(|affinity| !affinity.preferred.is_empty())
        || affinity.pod_anti_affinity.as_ref().is_some_and(|affinity| !affinity.preferred.is_empty())
        || spec.topology_spread_constraints.iter().any(|spread| spread.when_unsatisfiable == "ScheduleAnyway")
}

/// The terms of a node selector, of which one must hold.
pub(in crate::wire) fn terms(selector: &NodeSelector) -> Vec<Vec<Requirement>> {
    selector.node_selector_terms.iter().filter_map(term).collect()
}

/// A term; absent where it can match no node (empty, or with an operator that does not exist), as in kube-scheduler.
fn term(term: &NodeSelectorTerm) -> Option<Vec<Requirement>> {
    let expressions = term.match_expressions.iter().map(|expression| requirement(expression, false));
    let fields = term.match_fields.iter().map(|field| requirement(field, true));
    let requirements = expressions.chain(fields).collect::<Option<Vec<_>>>()?;
    (!requirements.is_empty()).then_some(requirements)
}

fn requirement(object: &NodeSelectorRequirement, field: bool) -> Option<Requirement> {
    let operator = match object.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        _ => return None,
    };
    let values = object.values.iter().map(|value| Arc::from(value.as_str())).collect();
    Some(Requirement { key: Arc::from(object.key.as_str()), field, operator, values })
}

/// A toleration; absent where it is of a kind that we cannot judge: it then tolerates nothing.
fn toleration(object: &TolerationObject) -> Option<Toleration> {
    let value = match object.operator.as_deref() {
        None | Some("" | "Equal") => Some(Arc::from(object.value.as_deref().unwrap_or_default())),
        Some("Exists") => None,
        Some(_) => return None,
    };
    let effect = match object.effect.as_deref() {
        None | Some("") => None,
        Some(word) => Some(taint_effect(word)?),
    };
    let key = object.key.as_deref().filter(|key| !key.is_empty()).map(Arc::from);
    Some(Toleration { key, value, effect })
}

/// The effect of a taint or toleration.
pub(in crate::wire) fn taint_effect(word: &str) -> Option<TaintEffect> {
    Some(match word {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        _ => return None,
    })
}
