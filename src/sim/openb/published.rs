//! The published results: mean and standard deviation of ten seeds for each list and policy.

use std::collections::BTreeMap;

use super::{ListError, Spread};
use crate::sim::table::Table;

/// Published figures, by list and policy.
#[derive(Clone, Debug, Default)]
pub struct Published {
    rows: BTreeMap<(String, String), BTreeMap<u64, Spread>>,
}

impl Published {
    /// Reads `workload,policy,n_seeds,alloc_pct_at_50_mean,alloc_pct_at_50_std,...`.
    ///
    /// # Errors
    /// The first line that is not of this form.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let table = Table::open(text, &["workload", "policy"], 10_000)?;
        let percents: Vec<u64> = table.columns().iter().filter_map(|name| percent_of(name)).collect();
        let mut rows: BTreeMap<_, BTreeMap<u64, Spread>> = BTreeMap::new();
        for row in table.rows() {
            let row = row?;
            let mut points = BTreeMap::new();
            for percent in &percents {
                let [mean, std] = ["mean", "std"].map(|what| row.fraction(&format!("alloc_pct_at_{percent}_{what}")));
                points.insert(*percent, Spread { mean: mean?, std: std? });
            }
            rows.insert((row.text("workload")?.to_owned(), row.text("policy")?.to_owned()), points);
        }
        Ok(Self { rows })
    }

    /// What was published of a policy on a list, when so many percent had arrived.
    pub fn at(&self, list: &str, policy: &str, percent: u64) -> Option<Spread> {
        self.rows.get(&(list.to_owned(), policy.to_owned()))?.get(&percent).copied()
    }
}

fn percent_of(column: &str) -> Option<u64> {
    column.strip_prefix("alloc_pct_at_")?.strip_suffix("_mean")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_list_and_policy() {
        let text = "workload,policy,n_seeds,alloc_pct_at_90_mean,alloc_pct_at_90_std\nl,FGD,10,89.98,0.05\n";
        let published = Published::parse(text).unwrap();
        assert_eq!(published.at("l", "FGD", 90), Some(Spread { mean: 89.98, std: 0.05 }));
        assert_eq!(published.at("l", "FGD", 95), None);
        assert_eq!(published.at("m", "FGD", 90), None);
        let wrong = text.replace("0.05", "little");
        assert_eq!(Published::parse(&wrong).unwrap_err().to_string(), "line 2: alloc_pct_at_90_std: `little` is not a number");
    }
}
