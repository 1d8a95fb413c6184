//! The values of a parameter: those that are listed, or a range; and which of them each trial has.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::policy::Mistake;
use crate::recipe::text;

/// Values to try, or a range.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ParameterFile {
    /// These, and no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<Value>,
    /// The least, for a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    /// The most, for a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    /// From one value to the next, counted from the least; a grid needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<f64>,
    /// Whether 0.001 to 0.01 is as wide as 0.1 to 1.
    #[serde(default)]
    log: bool,
}

impl ParameterFile {
    pub(super) fn check(&self) -> Result<(), Mistake> {
        if !self.values.is_empty() {
            if self.min.is_some() || self.max.is_some() || self.step.is_some() || self.log {
                return Err(Mistake::new("values", "stand beside a range", "keep one of the two"));
            }
            if self.values.len() > VALUES_MAX {
                return Err(Mistake::range("values", self.values.len(), "1..=1000"));
            }
            for (at, value) in self.values.iter().enumerate() {
                if value.is_object() || value.is_array() || value.is_null() {
                    return Err(Mistake::new(format!("values[{at}]"), "is no single value", "write a number, a word, true or false"));
                }
                text::bounded(&format!("values[{at}]"), &value.to_string(), 256)?;
            }
            return Ok(());
        }
        let (Some(min), Some(max)) = (self.min, self.max) else {
            return Err(Mistake::new("", "has no values", "write `values: [..]`, or `min` and `max`"));
        };
        if !(min.is_finite() && max.is_finite() && min < max) {
            return Err(Mistake::new("max", format!("is {max}, with a least of {min}"), "write a most above the least"));
        }
        if self.log && (min <= 0.0 || self.step.is_some()) {
            return Err(Mistake::new("log", "goes with a least above 0, and without a step", "leave one of them out"));
        }
        if self.step.is_some_and(|step| !(step > 0.0 && step <= max - min)) {
            return Err(Mistake::new("step", "leads nowhere", "write a step above 0 that is not wider than the range"));
        }
        Ok(())
    }

    /// All values, where there is an end to them.
    fn all(&self) -> Option<Vec<Value>> {
        if !self.values.is_empty() {
            return Some(self.values.clone());
        }
        let (min, max, step) = (self.min?, self.max?, self.step?);
        // The end belongs to it, whatever adding up makes of it.
        let steps = ((max - min) / step + 1e-9).floor();
        let mut all = Vec::new();
        let mut at = 0.0;
        while at <= steps && all.len() <= VALUES_MAX {
            all.push(number(min + at * step));
            at += 1.0;
        }
        Some(all)
    }

    fn drawn(&self, dice: &mut StdRng) -> Value {
        if let Some(all) = self.all().filter(|all| all.len() <= VALUES_MAX) {
            return all[dice.random_range(0..all.len())].clone();
        }
        let (min, max) = (self.min.unwrap_or_default(), self.max.unwrap_or_default());
        let part: f64 = dice.random();
        number(if self.log { (min.ln() + part * (max.ln() - min.ln())).exp() } else { min + part * (max - min) })
    }
}

/// Six digits: more would be noise in a file that people read.
fn number(value: f64) -> Value {
    let short = format!("{value:.5e}").parse().unwrap_or(value);
    // 64 layers are 64, and not 64.0.
    format!("{short}").parse::<i64>().map_or_else(|_| json!(short), |whole| json!(whole))
}

/// All combinations, the last parameter changing first.
pub(super) fn grid(parameters: &BTreeMap<String, ParameterFile>, trials_max: u32) -> Result<Vec<Value>, Mistake> {
    let mut trials = vec![Map::new()];
    for (name, parameter) in parameters {
        let Some(values) = parameter.all() else {
            let mistake = Mistake::new("step", "is missing: a grid has no end without it", "add `step`, or `search: random`");
            return Err(mistake.within(&format!("parameters.{name}")));
        };
        if trials.len().saturating_mul(values.len()) > trials_max as usize {
            let problem = format!("make more than {trials_max} combinations");
            return Err(Mistake::new("parameters", problem, "leave some out, or `search: random`"));
        }
        let with = |trial: &Map<String, Value>, value: &Value| {
            let mut trial = trial.clone();
            trial.insert(name.clone(), value.clone());
            trial
        };
        trials = trials.iter().flat_map(|trial| values.iter().map(move |value| with(trial, value))).collect();
    }
    Ok(trials.into_iter().map(Value::Object).collect())
}

/// So many, drawn from a seed.
pub(super) fn random(parameters: &BTreeMap<String, ParameterFile>, trials: u32, seed: u64) -> Vec<Value> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut one = || parameters.iter().map(|(name, parameter)| (name.clone(), parameter.drawn(&mut dice))).collect();
    (0..trials).map(|_| Value::Object(one())).collect()
}

const VALUES_MAX: usize = 1000;
