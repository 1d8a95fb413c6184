//! `gangplank-provision init`: a commented spec to begin with, from flags, and on a terminal from answers to what the flags leave
//! open. What is asked and what comes of it is decided in `recipe::begin`; here is decided who is asked. Every answer is read as
//! if somebody had written it into a file, so that nobody begins with a mistake.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, FromArgMatches};

use super::{Advice, Console, Exit, Run};
use crate::recipe::KINDS;
use crate::recipe::begin::{self, Answers, Asked, Question};

/// Arguments of `init`.
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// What it is called
    name: Option<String>,
    /// What it is; a TrainingJob if nothing is said
    #[arg(long, short, ignore_case = true, value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name)))]
    kind: Option<String>,
    #[command(flatten)]
    given: Given,
    /// Where to write it; stdout without it. A file that is there is kept
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask nothing: what is left open has its default. So it is, too, where stdin is no terminal
    #[arg(long, short)]
    yes: bool,
    /// The program and its arguments, behind --
    #[arg(last = true)]
    command: Vec<String>,
}

/// A flag for each question of any kind, but for the command, which comes behind `--`.
#[derive(Debug, Default)]
struct Given(Vec<(&'static str, String)>);

impl Given {
    /// Each key once, with the kinds that ask for it.
    fn flags() -> Vec<(&'static Question, Vec<&'static str>)> {
        let mut seen = BTreeSet::from([COMMAND]);
        let questions = || KINDS.iter().flat_map(|kind| kind.begin.questions.iter().map(move |question| (kind.name, question)));
        let first = questions().filter(|(_, question)| seen.insert(question.key)).map(|(_, question)| question);
        let kinds = |key: &str| questions().filter(|(_, question)| question.key == key).map(|(kind, _)| kind).collect();
        first.map(|question| (question, kinds(question.key))).collect()
    }
}

impl Args for Given {
    fn augment_args(command: clap::Command) -> clap::Command {
        Self::flags().into_iter().fold(command, |command, (question, kinds)| {
            let flag =
                Arg::new(question.key).long(question.key).value_name("VALUE").help(format!("{} [{}]", question.asks, kinds.join(", ")));
            command.arg(SHORT.iter().find(|(key, _)| *key == question.key).map_or(flag.clone(), |(_, letter)| flag.short(*letter)))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = Self::flags().into_iter();
        Ok(Self(flags.filter_map(|(question, _)| Some((question.key, matches.get_one::<String>(question.key)?.clone()))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Run for InitArgs {
    const NAME: &'static str = "init";
    const ABOUT: &'static str = "Write a commented spec to begin with, from flags or from answers";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let asks = !self.yes && io::stdin().is_terminal() && io::stderr().is_terminal();
        let answers = self.answers(asks)?;
        let answers = if asks { converse(answers, &mut io::stdin().lock(), &mut io::stderr())? } else { answers.complete() };
        let text = answers.text().map_err(anyhow::Error::msg)?;
        let Some(path) = self.file.or_else(|| (asks && io::stdout().is_terminal()).then(|| answers.file().into())) else {
            console.raw(&text)?;
            return Ok(Exit::Ok);
        };
        write(&path, &text)?;
        let file = path.display();
        console.talk(&format!("wrote {file}; next: gangplank-provision render {file} | kubectl apply -f -"));
        Ok(Exit::Ok)
    }
}

impl InitArgs {
    /// What the flags say. Without a kind it is the usual one, unless somebody can be asked.
    fn answers(&self, asks: bool) -> anyhow::Result<Answers> {
        let command = (!self.command.is_empty()).then(|| serde_json::to_string(&self.command)).transpose()?;
        let kind = self.kind.clone().or_else(|| {
            // Who says more than a name means the usual kind.
            let more = command.is_some() || !self.given.0.is_empty();
            (!asks || more).then(|| Answers::default().next().map(|asked| asked.default).unwrap_or_default())
        });
        let own = [(begin::KIND.key, kind), (begin::NAME.key, self.name.clone())];
        let given = own.into_iter().filter_map(|(key, answer)| Some((key, answer?)));
        let given = given.chain(self.given.0.iter().cloned()).chain(command.map(|command| (COMMAND, command)));
        let given: Vec<(&str, String)> = given.collect();
        let answers = given.iter().fold(Answers::default(), |answers, (key, answer)| answers.with(key, answer));
        // All of them together: one may be right only beside another.
        if let Some(problem) = given.iter().find_map(|(key, answer)| answers.objection(key, answer)) {
            let hint = "gangplank-provision init --help lists what there is to say";
            return Err(anyhow::Error::from(Advice::new(problem, hint)).context("the flags make no spec"));
        }
        Ok(answers)
    }
}

/// Asks what is open, one thing after the other, and again where an answer is none.
fn converse(mut answers: Answers, from: &mut impl BufRead, to: &mut impl io::Write) -> anyhow::Result<Answers> {
    writeln!(to, "An empty answer takes what stands in brackets; none leaves it out.")?;
    while let Some(asked) = answers.next() {
        write!(to, "{}", prompt(&asked))?;
        to.flush()?;
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            writeln!(to)?;
            return Err(
                Advice::new("the answers ended before the questions", "nothing was written; --yes takes what stands in brackets").into()
            );
        }
        let answer = if line.trim().is_empty() { asked.default.as_str() } else { line.trim() };
        match answers.objection(asked.key, answer) {
            Some(problem) => writeln!(to, "  {problem}")?,
            None => answers = answers.with(asked.key, answer),
        }
    }
    Ok(answers)
}

fn prompt(asked: &Asked) -> String {
    let choices = if asked.choices.is_empty() { String::new() } else { format!(" ({})", asked.choices.join(", ")) };
    format!("{}{choices} [{}]: ", asked.asks, asked.default)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = path.display();
    let mut created = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        let hint =
            if path.exists() { "it is there already: name another one, or delete it" } else { "name a file in a folder that exists" };
        anyhow::Error::from(Advice::new(format!("cannot write {file}: {error}"), hint))
    })?;
    created.write_all(text.as_bytes()).with_context(|| format!("cannot write {file}"))
}

const COMMAND: &str = "command";
const SHORT: &[(&str, char)] = &[("framework", 'f'), ("workers", 'w'), ("accelerators", 'a')];

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answers: Answers, typed: &str) -> (anyhow::Result<Answers>, String) {
        let mut said = Vec::new();
        let outcome = converse(answers, &mut typed.as_bytes(), &mut said);
        (outcome, String::from_utf8(said).unwrap())
    }

    #[test]
    fn an_empty_answer_takes_the_default_and_a_wrong_one_is_asked_for_again() {
        let (answers, said) = told(Answers::default(), "BatchJob\nchunk it\nchunk-it\n\n\n12\n\n\n\n\n");
        let text = answers.unwrap().text().unwrap();
        assert!(text.contains("kind: BatchJob") && text.contains("name: chunk-it") && text.contains("  chunks: 12\n"), "{text}");
        assert_eq!(said.matches("What it is called [batch]: ").count(), 2, "{said}");
        assert!(said.contains("What it is (TrainingJob, ModelServer,") && said.contains("How many at a time [10]: "), "{said}");
    }

    #[test]
    fn what_flags_say_is_not_asked_and_answers_that_end_early_make_nothing() {
        let begun = Answers::default().with("kind", "Dataset").with("name", "images").with("size", "1Ti");
        let (answers, said) = told(begun.clone(), "\n\n");
        assert!(answers.unwrap().text().unwrap().contains("size: 1Ti") && !said.contains("How much"), "{said}");
        assert!(told(begun, "\n").0.unwrap_err().to_string().contains("ended before"));
    }
}
