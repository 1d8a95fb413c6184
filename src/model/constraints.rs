//! What kube-scheduler checks of a pod against a node, so far as a planner must respect it.

use std::sync::Arc;

/// Node constraints of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// `spec.nodeSelector`, as requirements that must all hold.
    pub node_selector: Vec<Requirement>,
    /// `requiredDuringSchedulingIgnoredDuringExecution`: terms of which one must hold; absent means any node.
    pub node_affinity: Option<Vec<Vec<Requirement>>>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// Required anti-affinity on `kubernetes.io/hostname` against pods like itself: members of a gang must not meet.
    pub apart: bool,
    /// Where its volumes can be reached, so far as that is known: of each, terms of which one must hold. Not the pod says it but its
    /// PersistentVolumes.
    pub volumes: Vec<Vec<Vec<Requirement>>>,
}

/// One requirement on a label (or, with [`Requirement::field`], on `metadata.name`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Label key, or `metadata.name` when `field` is set.
    pub key: Arc<str>,
    /// From matchFields rather than matchExpressions.
    pub field: bool,
    /// How to compare.
    pub operator: Operator,
    /// What to compare with.
    pub values: Vec<Arc<str>>,
}

/// Comparison of a label with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: Arc<str>,
    /// Value, empty if none.
    pub value: Arc<str>,
    /// What it does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// Key; absent with Exists tolerates everything.
    pub key: Option<Arc<str>>,
    /// Value for Equal; absent means Exists.
    pub value: Option<Arc<str>>,
    /// Effect; absent means all.
    pub effect: Option<TaintEffect>,
}
