//! Prefers the node of whose devices least becomes useless to the pods that usually come.

use super::{Gradient, Opinion, Policy, Scope, View};

/// Its guide is docs/policies/fragmentation.md.
#[derive(Clone, Copy, Debug)]
pub struct Fragmentation;

impl Policy for Fragmentation {
    fn name(&self) -> &'static str {
        "fragmentation"
    }

    fn guide(&self) -> &'static str {
        include_str!("../../docs/policies/fragmentation.md")
    }

    fn judge(&self, view: &View<'_>) -> Opinion {
        self.judge_gradient(&view.outlook.gradient)
    }

    fn saw(&self, view: &View<'_>) -> String {
        match view.outlook.gradient {
            Gradient::Unknown => "nobody counts fragments here".into(),
            Gradient::Unfit => "no gradient for it there".into(),
            Gradient::Of(of) => {
                format!("of idle devices usual pods cannot use {:.0} milli on average, {:.0} afterwards", of.before_milli, of.after_milli)
            }
        }
    }

    fn scope(&self) -> Scope {
        Scope::Gradient
    }

    fn judge_gradient(&self, gradient: &Gradient) -> Opinion {
        match gradient {
            Gradient::Unknown => Opinion::Indifferent,
            Gradient::Unfit => Opinion::Score(0),
            Gradient::Of(of) => Opinion::Score(u32::from(of.percent()) * (Opinion::BEST / 100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Fragmented;

    #[test]
    fn what_mends_fragments_scores_above_what_makes_them_and_close_ones_are_equal() {
        let score = |before_milli, after_milli| {
            let of = Fragmented { residual_milli: 500, before_milli, after_milli };
            Fragmentation.judge_gradient(&Gradient::Of(of))
        };
        assert_eq!(score(700.0, 700.0), Opinion::Score(500_000));
        assert_eq!([score(500.0, 0.0), score(0.0, 500.0), score(0.0, 8000.0)], [620_000, 370_000, 0].map(Opinion::Score));
        assert_eq!(score(0.0, 500.0), score(0.0, 501.0));
        assert_eq!(Fragmentation.judge_gradient(&Gradient::Unfit), Opinion::Score(0));
    }
}
