//! `gangplank-provision check`: what it says about manifests that are wrong, that it says nothing about those that are right,
//! and that what it writes is right afterwards.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "checks/rules.rs"]
mod rules;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use gangplank::check::{self, Facts, Finding, Level, Text};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The YAML files of a folder by name; none where it is not there.
fn texts(folder: &str) -> Vec<Text> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    paths.sort();
    let text = |path: PathBuf| Text { file: path.file_name().unwrap().to_str().unwrap().into(), text: fs::read_to_string(path).unwrap() };
    paths.into_iter().map(text).collect()
}

fn seeds() -> Vec<Text> {
    let seeds = texts("../shared/seed-manifests");
    if seeds.is_empty() {
        let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: ../shared/seed-manifests is not there; nothing is said about them ====\n");
    }
    seeds
}

fn check(texts: &[Text]) -> Vec<Finding> {
    check::check(texts, &Facts::default()).unwrap()
}

fn fix(text: &Text) -> (Text, Vec<Finding>) {
    let (mut texts, left) = check::fix(std::slice::from_ref(text), &Facts::default()).unwrap();
    (texts.remove(0), left)
}

/// Each file looked at alone, as people do who apply it alone.
fn list(texts: &[Text]) -> String {
    let line = |finding: Finding| {
        let Finding { file, line, kind, name, field, rule, level, problem, fix, fixable } = finding;
        let mark = if fixable { " (--fix)" } else { "" };
        format!("{file}:{line}: {}: {kind}/{name} {field}: {problem} [{rule}]\n    {fix}{mark}\n", level.word())
    };
    texts.iter().flat_map(|text| check(std::slice::from_ref(text))).map(line).collect()
}

fn golden(path: &str, made: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "{} has changed; if it is right now: UPDATE=1 cargo test --test checks\n{made}", path.display());
}

#[test]
fn the_examples_have_exactly_these_findings() {
    let examples = texts("deploy/examples");
    assert_eq!(examples.len(), 20);
    golden("tests/checks/examples.txt", &list(&examples));
}

#[test]
fn the_manifests_that_users_wrote_have_exactly_these_findings() {
    let seeds = seeds();
    if !seeds.is_empty() {
        golden("tests/checks/seeds.txt", &list(&seeds));
    }
}

#[test]
fn thirty_clean_manifests_are_not_spoken_about() {
    let clean = texts("tests/checks/clean");
    assert_eq!(clean.len(), 30);
    assert_eq!(list(&clean), "");
}

#[test]
fn what_fix_writes_has_no_errors_and_nothing_left_to_fix() {
    for text in texts("deploy/examples").iter().chain(&seeds()) {
        let (fixed, left) = fix(text);
        let bad: Vec<_> = left.iter().filter(|finding| finding.level == Level::Error || finding.fixable).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}\n{}", text.file, fixed.text);
        assert_eq!(fix(&fixed).0.text, fixed.text, "{}: a second --fix changes it again", text.file);
    }
}

#[test]
fn fix_keeps_every_comment_and_every_line_that_is_not_wrong() {
    let examples = texts("deploy/examples");
    let mut changed = 0;
    for text in &examples {
        let (fixed, _) = fix(text);
        let wrong: Vec<usize> =
            check(std::slice::from_ref(text)).iter().filter(|finding| finding.fixable).map(|finding| finding.line).collect();
        changed += usize::from(!wrong.is_empty());
        let mut after = fixed.text.lines();
        for (number, line) in (1..).zip(text.text.lines()) {
            // An item may have come before it on its line, and only there where something was found.
            let kept = wrong.contains(&number)
                || after.any(|other| other == line || other.trim_start_matches(['-', ' ']).ends_with(line.trim_start_matches(['-', ' '])));
            assert!(kept, "{}:{number}: `{line}` is gone or has moved\n{}", text.file, fixed.text);
        }
        if wrong.is_empty() {
            assert_eq!(fixed.text, text.text, "{}", text.file);
        }
    }
    assert!(changed >= 8, "only {changed} examples were changed: the test looks at too few");
}

#[test]
fn what_render_writes_is_not_spoken_about() {
    let mut objects_count = 0;
    for spec in texts("deploy/examples/specs") {
        let mut text = String::new();
        // The forms in which they stand for the examples.
        let forms = [("pipeline.yaml", "argo"), ("serve-kserve.yaml", "kserve"), ("canary-knative.yaml", "knative")];
        let form = forms.iter().find(|(file, _)| *file == spec.file).map(|(_, form)| *form);
        for read in gangplank::recipe::read(&spec.text).unwrap() {
            for object in read.render(form).unwrap().objects {
                objects_count += 1;
                text.push_str("---\n");
                text.push_str(&serde_saphyr::to_string(&object).unwrap());
            }
        }
        let findings = check(&[Text { file: spec.file, text: text.clone() }]);
        // What the specs take over from the examples word for word: images, and products by their labels.
        let theirs = ["moving-image", "unknown-product"];
        let excused =
            |finding: &&Finding| finding.level == Level::Note || finding.level == Level::Warning && theirs.contains(&finding.rule);
        let bad: Vec<_> = findings.iter().filter(|finding| !excused(finding)).collect();
        assert!(bad.is_empty(), "{bad:#?}\n{text}");
    }
    assert!(objects_count > 20, "{objects_count}");
}

#[test]
fn the_page_is_made_from_the_rules() {
    golden("docs/checks.md", &check::page());
    let mut ids: Vec<&str> = check::rules::ALL.iter().map(|rule| rule.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn every_rule_is_tested() {
    let tests = fs::read_to_string(root().join("tests/checks/rules.rs")).unwrap();
    for rule in check::rules::ALL {
        assert!(tests.contains(&format!(" {} ", rule.id)), "tests/checks/rules.rs has no case for {}", rule.id);
    }
}

#[test]
fn a_text_that_is_no_yaml_is_told_with_its_line() {
    let text = Text { file: "f.yaml".into(), text: "a: 1\nb: [\n".into() };
    let (file, error) = check::check(&[text], &Facts::default()).unwrap_err();
    assert_eq!((file.as_str(), error.line), ("f.yaml", 2));
}

#[cfg(feature = "io")]
mod program {
    use std::process::{Command, Output, Stdio};

    use super::*;

    fn run(args: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank-provision"));
        command.args(args).current_dir(root()).env("NO_COLOR", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn the_exit_code_is_1_where_there_is_an_error_and_0_where_there_is_none() {
        let wrong = run(&["check", "deploy/examples/train-four-workers.yaml"], "");
        let said = format!("exit {}\n{}{}", wrong.status.code().unwrap(), text(&wrong.stdout), text(&wrong.stderr));
        golden("tests/checks/program.txt", &said);
        let clean = run(&["check", "tests/checks/clean/mlflow.yaml"], "");
        assert_eq!((clean.status.code(), text(&clean.stdout), text(&clean.stderr)), (Some(0), String::new(), String::new()));
        assert_eq!(run(&["check", "nowhere.yaml"], "").status.code(), Some(1));
        assert_eq!(run(&["check"], "").status.code(), Some(2));
    }

    #[test]
    fn folders_json_and_stdin_are_taken() {
        let all = run(&["check", "-o", "json", "deploy/examples"], "");
        let all: serde_json::Value = serde_json::from_slice(&all.stdout).unwrap();
        assert!(all.as_array().unwrap().iter().any(|finding| finding["rule"] == "secret-in-the-open"), "{all}");
        let fixed = run(&["check", "--fix", "-"], &fs::read_to_string(root().join("deploy/examples/train-four-workers.yaml")).unwrap());
        assert_eq!(fixed.status.code(), Some(0), "{}", text(&fixed.stderr));
        assert!(text(&fixed.stdout).contains("  completionMode: Indexed\n"), "{}", text(&fixed.stdout));
        assert!(text(&fixed.stdout).starts_with("# Four workers"), "{}", text(&fixed.stdout));
    }

    #[test]
    fn files_are_fixed_where_they_stand() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{}.yaml", std::process::id()));
        fs::copy(root().join("deploy/examples/two-containers-one-gpu.yaml"), &path).unwrap();
        let file = path.to_str().unwrap();
        assert_eq!(run(&["check", file], "").status.code(), Some(1));
        assert_eq!(run(&["check", "--gangplank", file], "").status.code(), Some(0));
        assert_eq!(run(&["check", "--fix", file], "").status.code(), Some(0));
        assert!(fs::read_to_string(&path).unwrap().contains("gangplank.dev/gpu-milli: 500"));
        assert_eq!(run(&["check", file], "").status.code(), Some(0));
        fs::remove_file(&path).unwrap();
    }
}
