//! Whether a node admits a pod, so far as it lies in the pod's constraints: selector, affinity, taints, cordon. As
//! kube-scheduler's own filters decide it; room is not asked here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Constraints, Node, Operator, Requirement, Taint, TaintEffect, Toleration};

impl Constraints {
    /// Whether node selector and required node affinity hold, as plugin NodeAffinity decides it.
    pub fn selects(&self, node: &Node) -> bool {
        self.node_selector.iter().all(|requirement| requirement.holds(node))
            && self.node_affinity.as_ref().is_none_or(|terms| any_holds(terms, node))
    }

    /// Whether its volumes can be reached from there, as plugin VolumeBinding decides it of claims that are bound.
    pub fn reaches_volumes(&self, node: &Node) -> bool {
        self.volumes.iter().all(|terms| any_holds(terms, node))
    }

    /// The first taint that keeps the pod out, as plugin TaintToleration decides it.
    pub fn untolerated<'a>(&self, node: &'a Node) -> Option<&'a Taint> {
        node.taints.iter().find(|taint| match taint.effect {
            TaintEffect::NoSchedule | TaintEffect::NoExecute => !self.tolerates(taint),
            TaintEffect::PreferNoSchedule => false,
        })
    }

    /// Whether the node is cordoned and the pod does not tolerate that, as plugin NodeUnschedulable decides it.
    pub fn shut_out_by_cordon(&self, node: &Node) -> bool {
        let cordon = || Taint { key: "node.kubernetes.io/unschedulable".into(), value: "".into(), effect: TaintEffect::NoSchedule };
        node.unschedulable && !self.tolerates(&cordon())
    }

    /// Whether any toleration covers a taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.covers(taint))
    }
}

/// A term without requirements matches no node, and neither does an empty list of terms.
fn any_holds(terms: &[Vec<Requirement>], node: &Node) -> bool {
    terms.iter().any(|term| !term.is_empty() && term.iter().all(|requirement| requirement.holds(node)))
}

impl Toleration {
    fn covers(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_none_or(|effect| effect == taint.effect);
        let key = self.key.as_ref().map_or(self.value.is_none(), |key| *key == taint.key);
        effect && key && self.value.as_ref().is_none_or(|value| *value == taint.value)
    }
}

impl Requirement {
    /// Whether a node satisfies it.
    pub fn holds(&self, node: &Node) -> bool {
        if self.field {
            // The only field that Kubernetes supports here.
            &*self.key == "metadata.name" && self.compares(Some(node.name.as_str()))
        } else {
            self.satisfied(&node.labels)
        }
    }

    /// Whether labels satisfy it, as apimachinery's `labels.Requirement` decides it.
    pub fn satisfied(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        self.compares(labels.get(&self.key).map(AsRef::as_ref))
    }

    fn compares(&self, actual: Option<&str>) -> bool {
        let listed = |actual: &str| self.values.iter().any(|value| &**value == actual);
        let ordered = |holds: fn(i64, i64) -> bool| {
            let bound = self.values.first().and_then(|value| value.parse().ok());
            actual.and_then(|actual| actual.parse().ok()).zip(bound).is_some_and(|(actual, bound)| holds(actual, bound))
        };
        match self.operator {
            Operator::In => actual.is_some_and(listed),
            Operator::NotIn => !actual.is_some_and(listed),
            Operator::Exists => actual.is_some(),
            Operator::DoesNotExist => actual.is_none(),
            Operator::Gt => ordered(|actual, bound| actual > bound),
            Operator::Lt => ordered(|actual, bound| actual < bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_as_kubernetes_matches_them() {
        let taint = Taint { key: "gpu".into(), value: "yes".into(), effect: TaintEffect::NoSchedule };
        let toleration =
            |key: Option<&str>, value: Option<&str>, effect| Toleration { key: key.map(Into::into), value: value.map(Into::into), effect };
        for (candidate, expected) in [
            (toleration(Some("gpu"), Some("yes"), Some(TaintEffect::NoSchedule)), true),
            (toleration(Some("gpu"), Some("yes"), None), true),
            (toleration(Some("gpu"), None, None), true),
            (toleration(None, None, None), true),
            (toleration(Some("gpu"), Some("no"), None), false),
            (toleration(Some("gpu"), Some("yes"), Some(TaintEffect::NoExecute)), false),
            (toleration(Some("cpu"), None, None), false),
            (toleration(None, Some("yes"), None), false),
        ] {
            assert_eq!(candidate.covers(&taint), expected, "{candidate:?}");
        }
        assert!(!Constraints::default().tolerates(&taint));
    }

    #[test]
    fn requirements_compare_as_kubernetes_compares_them() {
        let labels: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::from([("zone".into(), "a".into()), ("gpus".into(), "8".into())]);
        for (key, operator, values, expected) in [
            ("zone", Operator::In, &["a", "b"][..], true),
            ("zone", Operator::In, &["b"], false),
            ("gone", Operator::In, &["a"], false),
            ("zone", Operator::NotIn, &["b"], true),
            ("zone", Operator::NotIn, &["a"], false),
            ("gone", Operator::NotIn, &["a"], true),
            ("zone", Operator::Exists, &[], true),
            ("gone", Operator::Exists, &[], false),
            ("gone", Operator::DoesNotExist, &[], true),
            ("gpus", Operator::Gt, &["7"], true),
            ("gpus", Operator::Gt, &["8"], false),
            ("gpus", Operator::Lt, &["9"], true),
            ("gpus", Operator::Lt, &["8"], false),
            ("zone", Operator::Gt, &["1"], false),
            ("gone", Operator::Lt, &["1"], false),
            ("gpus", Operator::Gt, &["many"], false),
        ] {
            let values = values.iter().map(|value| (*value).into()).collect();
            let requirement = Requirement { key: key.into(), field: false, operator, values };
            assert_eq!(requirement.satisfied(&labels), expected, "{requirement:?}");
        }
    }
}
