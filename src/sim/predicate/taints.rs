//! TaintToleration: the first NoSchedule or NoExecute taint that a pod does not tolerate keeps it out.

use super::{Neighbours, NodeView, SimPod, Unfit};
use crate::model::{Taint, TaintEffect, Toleration};

pub(super) fn check(pod: &SimPod, view: &NodeView<'_>, _: &Neighbours) -> Vec<Unfit> {
    let keeps_out = |taint: &&Taint| match taint.effect {
        TaintEffect::NoSchedule | TaintEffect::NoExecute => !tolerated(&pod.pod.constraints.tolerations, taint),
        TaintEffect::PreferNoSchedule => false,
    };
    let found = view.node.node.taints.iter().find(keeps_out);
    found
        .map(|taint| Unfit::new("untolerated-taint", format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value), false))
        .into_iter()
        .collect()
}

pub(super) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.is_none_or(|effect| effect == taint.effect);
        let key = toleration.key.as_ref().map_or(toleration.value.is_none(), |key| *key == taint.key);
        effect && key && toleration.value.as_ref().is_none_or(|value| *value == taint.value)
    })
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
            assert_eq!(tolerated(std::slice::from_ref(&candidate), &taint), expected, "{candidate:?}");
        }
        assert!(!tolerated(&[], &taint));
    }

    #[test]
    fn a_taint_that_only_prefers_keeps_nobody_out() {
        use super::super::fixture::{node, pod, texts};
        let mut tainted = node("n1");
        let taint = |effect| Taint { key: "gpu".into(), value: "yes".into(), effect };
        tainted.node.taints = vec![taint(TaintEffect::PreferNoSchedule)];
        assert!(texts("TaintToleration", &pod("a"), &tainted).is_empty());
        tainted.node.taints.push(taint(TaintEffect::NoExecute));
        assert_eq!(texts("TaintToleration", &pod("a"), &tainted), ["node(s) had untolerated taint {gpu: yes}"]);
    }
}
