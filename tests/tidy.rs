//! Rules that are about the source tree rather than about behaviour. Each message names the file, the line, and what to
//! do instead. It reads text: aliases and `super::` escape it, the feature split and clippy's lists cover those.

use std::fs;
use std::path::{Path, PathBuf};

/// A module may name only modules above it. Modules of later versions have their places already.
const ORDER: &[&str] = &[
    "model",
    "topology",
    "book",
    "value",
    "policy",
    "gang",
    "queue",
    "preempt",
    "engine",
    "recipe",
    "drive",
    "check",
    "sim",
    "telemetry",
    "wire",
    "host",
    "cluster",
    "agent",
    "provision",
    "api",
    "web",
    "cli",
];
const UNSAFE_MODULE: &str = "src/agent/raw.rs";
const FILE_LINES_MAX: usize = 600;
const BIN_LINES_MAX: usize = 80;

/// Text that must not stand in a source file, where it may after all, and what to do instead.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("thread::sleep(", &["tests/"], "wait for the event itself, with a bound"),
    ("SystemTime::now(", &["src/host/clock.rs", "tests/", "benches/"], "take the time as an argument; host/clock.rs is its only reader"),
    ("std::process::exit(", &[], "return an ExitCode, so that destructors run"),
    ("#[allow(", &["tests/"], "use #[expect(lint, reason = \"...\")], which ends when its cause ends"),
    ("FIXME", &[], "mend it, or open an issue and name it in the comment"),
    ("serde_yaml::", &[], "serde_saphyr, which has budgets"),
    ("0.0.0.0", &["src/cli/", "src/recipe/tracking_server.rs", "tests/"], "listen on loopback unless the user asks for more"),
    (".unwrap_or_else(|_| panic!", &["tests/"], "return an error that names what failed"),
];

#[test]
fn a_module_names_only_modules_above_it() {
    let mut broken = Vec::new();
    for file in rust_files("src") {
        let relative = relative(&file);
        let module = relative.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some(place) = ORDER.iter().position(|name| *name == module) else {
            assert!(
                ["lib", "bin"].contains(&module.as_str()),
                "{relative}: `{module}` has no place in ORDER of tests/tidy.rs: give it one"
            );
            continue;
        };
        for (number, line) in code(&file) {
            for named in named_modules(&line) {
                let below = ORDER.iter().position(|name| *name == named).is_some_and(|other| other > place);
                if below {
                    broken.push(format!(
                        "{relative}:{number}: `{module}` names `{named}`, which stands below it: move what both need up, or pass it in"
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_order_test_sees_both_spellings() {
    assert_eq!(named_modules("use crate::engine::{Input, Output};"), ["engine"]);
    assert_eq!(named_modules("    let x: crate::wire::PodObject = crate::sim::run();"), ["wire", "sim"]);
    assert_eq!(named_modules("use crate::{model, policy::Profile};"), ["model", "policy"]);
    assert!(named_modules("use super::model;").is_empty());
}

/// Foreign code is called in one place, small enough to be read by whoever doubts it. The compiler denies it elsewhere; what
/// would allow it there is looked for here.
#[test]
fn one_module_calls_foreign_code() {
    let mut found = Vec::new();
    for file in rust_files("src") {
        let relative = relative(&file);
        for (number, line) in code(&file) {
            let words: Vec<&str> = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
            let excused = (words.contains(&"unsafe_code") && relative == "src/agent/mod.rs") || relative == UNSAFE_MODULE;
            if !excused && (words.contains(&"unsafe") || words.contains(&"unsafe_code")) {
                found.push(format!("{relative}:{number}: unsafe code belongs to {UNSAFE_MODULE}"));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let lines = read(&root().join(UNSAFE_MODULE)).lines().count();
    assert!((1..=150).contains(&lines), "{UNSAFE_MODULE} has {lines} lines: what needs no unsafe belongs elsewhere");
}

#[test]
fn every_file_says_what_it_decides() {
    let headless = |file: &PathBuf| !read(file).starts_with("//!");
    let files: Vec<String> = sources().into_iter().filter(headless).map(|file| relative(&file)).collect();
    assert!(files.is_empty(), "these files do not begin with `//!`: say what each decides, and what it does not\n{}", files.join("\n"));
}

#[test]
fn files_stay_short_enough_to_be_read() {
    let mut long = Vec::new();
    for file in sources() {
        let (relative, lines) = (relative(&file), read(&file).lines().count());
        let lines_max = if relative.starts_with("src/bin/") { BIN_LINES_MAX } else { FILE_LINES_MAX };
        if lines > lines_max {
            long.push(format!("{relative}: {lines} lines, at most {lines_max}: split it by what it decides"));
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn banned_text_is_not_used() {
    let mut found = Vec::new();
    for file in sources() {
        let relative = relative(&file);
        if relative == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in read(&file).lines().enumerate().map(|(at, line)| (at + 1, line)) {
            for (text, excepted, instead) in BANNED {
                if line.contains(text) && !excepted.iter().any(|prefix| relative.starts_with(prefix)) {
                    found.push(format!("{relative}:{number}: `{text}`: {instead}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_line_ends_in_blanks_and_no_file_without_a_line_feed() {
    let mut found = Vec::new();
    for file in sources() {
        let (relative, text) = (relative(&file), read(&file));
        let blanks = text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t']));
        found.extend(blanks.map(|(at, _)| format!("{relative}:{}: ends in blanks: run cargo fmt", at + 1)));
        if !text.ends_with('\n') {
            found.push(format!("{relative}: does not end in a line feed: add one"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Documentation that has a table of commands names every one of them, and only these.
#[cfg(feature = "io")]
#[test]
fn every_command_is_documented() {
    for document in ["README.md", "docs/cli.md"] {
        let path = root().join(document);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let mut rows: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| `gangplank ")).collect();
        if rows.is_empty() {
            continue;
        }
        rows.iter_mut().for_each(|row| *row = row.split([' ', '`']).next().unwrap_or_default());
        for command in gangplank::cli::ALL {
            assert!(rows.contains(&command.name), "{document}: no row for `gangplank {}`: add one", command.name);
        }
        for row in rows {
            let known = gangplank::cli::ALL.iter().any(|command| command.name == row);
            assert!(known, "{document}: `gangplank {row}` is no command: remove the row, or add it to ALL in src/cli/mod.rs");
        }
    }
}

/// Lines of code with their numbers: no comments, and nothing from the tests of a file, which may look anywhere.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = read(file);
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let body = lines.take_while(|(_, line)| *line != "#[cfg(test)]");
    body.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(number, line)| (number, line.to_owned())).collect()
}

fn named_modules(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        let items: Vec<&str> = group.map_or_else(|| vec![rest], |group| group.split(',').collect());
        names.extend(
            items
                .into_iter()
                .map(|item| item.trim().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()),
        );
    }
    names.retain(|name| !name.is_empty());
    names
}

fn sources() -> Vec<PathBuf> {
    ["src", "tests", "benches"].into_iter().flat_map(rust_files).collect()
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(folder == "benches" || !files.is_empty(), "no Rust files under {folder}: this test looks at the wrong place");
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
