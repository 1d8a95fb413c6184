//! How a spec begins: what its author is asked, and the commented file that comes of the answers. Answers in, the next question or
//! the text out: nobody is asked here, and no file is written.
//!
//! What may live here: one file a kind, with its questions in the order in which they are asked and its text, named by the kind
//! itself; `fill.rs`, which puts answers into a text.

mod batch_job;
mod dataset;
mod fill;
mod model_server;
mod pipeline;
mod sweep;
mod team;
#[cfg(test)]
mod tests;
mod tracking_server;
mod training_job;

use std::collections::BTreeMap;

use super::{KINDS, Kind};

pub(super) use batch_job::BATCH_JOB;
pub(super) use dataset::DATASET;
pub(super) use model_server::MODEL_SERVER;
pub(super) use pipeline::PIPELINE;
pub(super) use sweep::SWEEP;
pub(super) use team::TEAM;
pub(super) use tracking_server::TRACKING_SERVER;
pub(super) use training_job::TRAINING_JOB;

/// How the spec of a kind begins.
#[derive(Debug)]
pub struct Begin {
    /// What it is called if nobody says.
    name: &'static str,
    /// What is asked, in this order.
    pub questions: &'static [Question],
    /// The file from `spec:` on, as `fill` reads it.
    text: &'static str,
}

/// What an author may say.
#[derive(Debug)]
pub struct Question {
    /// The flag that answers it, and the answer's name in the text.
    pub key: &'static str,
    /// What is asked for, as help and a terminal show it.
    pub asks: &'static str,
    otherwise: Otherwise,
    /// The only answers, where there are few.
    choices: fn() -> Vec<&'static str>,
    /// Whether it is a question at all, after the answers before it.
    applies: fn(&Answers) -> bool,
}

/// What holds where nothing is said; an empty text leaves the field out.
#[derive(Clone, Copy, Debug)]
enum Otherwise {
    Always(&'static str),
    By(fn(&Answers) -> String),
}

impl Question {
    const fn new(key: &'static str, asks: &'static str, default: &'static str) -> Self {
        Self { key, asks, otherwise: Otherwise::Always(default), choices: Vec::new, applies: |_| true }
    }

    const fn by(self, otherwise: fn(&Answers) -> String) -> Self {
        Self { otherwise: Otherwise::By(otherwise), ..self }
    }

    const fn of(self, choices: fn() -> Vec<&'static str>) -> Self {
        Self { choices, ..self }
    }

    const fn when(self, applies: fn(&Answers) -> bool) -> Self {
        Self { applies, ..self }
    }
}

/// What was answered so far, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<&'static str, String>);

/// A question as it is put, with what holds if nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of which answer.
    pub key: &'static str,
    /// What is asked for.
    pub asks: &'static str,
    /// What an empty answer means; itself empty where the field is left out then.
    pub default: String,
    /// The only answers, where there are few.
    pub choices: Vec<&'static str>,
}

impl Answers {
    /// With one more. `none` leaves a field out that has a default.
    #[must_use]
    pub fn with(mut self, key: &'static str, answer: &str) -> Self {
        let answer = answer.trim();
        self.0.insert(key, if answer == "none" { String::new() } else { answer.to_owned() });
        self
    }

    /// What was said, if anything was.
    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn kind(&self) -> Option<&'static Kind> {
        Kind::named(self.0.get(KIND.key)?)
    }

    /// What is to be asked next; nothing where all is said.
    pub fn next(&self) -> Option<Asked> {
        let Some(kind) = self.kind() else { return Some(KIND.asked(self, "")) };
        if !self.0.contains_key(NAME.key) {
            return Some(NAME.asked(self, kind.begin.name));
        }
        let mut open = kind.begin.questions.iter().filter(|question| !self.0.contains_key(question.key));
        open.find(|question| (question.applies)(self)).map(|question| question.asked(self, ""))
    }

    /// With what holds where nothing was said.
    #[must_use]
    pub fn complete(mut self) -> Self {
        while let Some(asked) = self.next() {
            self = self.with(asked.key, &asked.default);
        }
        self
    }

    /// What is wrong with an answer, after those before it.
    pub fn objection(&self, key: &'static str, answer: &str) -> Option<String> {
        let all = self.clone().with(key, answer);
        let choices = all.question(key).map(|question| (question.choices)()).unwrap_or_default();
        let chosen = choices.contains(&all.get(key)) || key == KIND.key && all.kind().is_some();
        if !choices.is_empty() && !chosen {
            return Some(format!("`{}` is none of {}", all.get(key), choices.join(", ")));
        }
        if let Some(stray) = all.stray() {
            return Some(stray);
        }
        let text = match all.complete().text() {
            Ok(text) => text,
            Err(problem) => return Some(problem),
        };
        super::read(&text).err().map(|error| format!("{}: {}; {}", error.field, error.problem, error.remedy))
    }

    /// An answer to what is no question here.
    fn stray(&self) -> Option<String> {
        let kind = self.kind()?;
        let asked = |key: &str| kind.begin.questions.iter().find(|question| question.key == key);
        let own = [KIND.key, NAME.key];
        self.0.keys().filter(|key| !own.contains(key)).find_map(|key| match asked(key) {
            None => {
                let keys: Vec<&str> = kind.begin.questions.iter().map(|question| question.key).collect();
                Some(format!("a {} has no {key}; it has {}", kind.name, keys.join(", ")))
            }
            Some(question) if !(question.applies)(self) => Some(format!("{key} does not go with the other answers: leave it out")),
            Some(_) => None,
        })
    }

    fn question(&self, key: &str) -> Option<&'static Question> {
        let own = [&KIND, &NAME].into_iter().find(|question| question.key == key);
        own.or_else(|| self.kind()?.begin.questions.iter().find(|question| question.key == key))
    }

    /// Where it belongs if nobody says.
    pub fn file(&self) -> String {
        format!("{}.yaml", self.get(NAME.key))
    }

    /// The commented file of complete answers.
    ///
    /// # Errors
    /// An answer that cannot be written: a command whose quotes are open, a mount without a place.
    pub fn text(&self) -> Result<String, String> {
        let kind = self.kind().ok_or("no kind was said")?;
        let file = format!("{}.schema.json", kind.name.to_lowercase());
        let head = format!(
            "# yaml-language-server: $schema={file}\n# Editors complete by it once it is there: gangplank-provision schema {0} > {file}\n# {1}\napiVersion: {2}/{3}\nkind: {0}\n",
            kind.name,
            kind.about,
            super::GROUP,
            super::VERSION
        );
        Ok(head + &fill::fill(METADATA, self)? + &fill::fill(kind.begin.text, self)?)
    }
}

impl Question {
    /// As it is put to somebody who said this much.
    fn asked(&'static self, answers: &Answers, default: &str) -> Asked {
        let default = match self.otherwise {
            Otherwise::Always("") => default.to_owned(),
            Otherwise::Always(text) => text.to_owned(),
            Otherwise::By(default) => default(answers),
        };
        Asked { key: self.key, asks: self.asks, default, choices: (self.choices)() }
    }
}

/// Comes first, for the others depend on it.
pub static KIND: Question = Question::new("kind", "What it is", "TrainingJob").of(|| KINDS.iter().map(|kind| kind.name).collect());
/// Comes second, of every kind.
pub static NAME: Question = Question::new("name", "What it is called", "");

const METADATA: &str = "\
metadata:
  name: <name>
  namespace: <namespace>
";
