//! What is asked after which answers, and that what comes of them is a spec.

use super::super::read;
use super::*;

fn of(kind: &str) -> Answers {
    Answers::default().with(KIND.key, kind)
}

fn keys(mut answers: Answers) -> Vec<&'static str> {
    let mut keys = Vec::new();
    while let Some(asked) = answers.next() {
        keys.push(asked.key);
        answers = answers.with(asked.key, &asked.default);
    }
    keys
}

#[test]
fn the_kind_is_asked_first_then_the_name_and_then_what_the_kind_wants_to_know() {
    let first = Answers::default().next().unwrap();
    assert_eq!((first.key, first.default.as_str(), first.choices.len()), ("kind", "TrainingJob", KINDS.len()));
    assert_eq!(
        keys(Answers::default()),
        ["kind", "name", "framework", "image", "command", "accelerators", "workers", "dataset", "results", "expected-duration"]
    );
    assert_eq!(keys(of("Dataset").with("size", "1Ti")), ["name", "access-mode", "class"]);
}

#[test]
fn an_answer_decides_what_is_asked_after_it_and_what_holds_if_nothing_is_said() {
    assert!(!keys(of("TrainingJob").with("accelerators", "tpu-v5e:4x4")).contains(&"workers"));
    assert!(keys(of("ModelServer").with("runtime", "plain")).contains(&"port"));
    assert!(!keys(of("ModelServer").with("runtime", "vllm")).contains(&"port"));
    assert!(keys(of("Sweep").with("search", "random")).contains(&"trials"));
    let jax = of("TrainingJob").with("name", "a").with("framework", "jax").next().unwrap();
    assert_eq!((jax.key, jax.default.contains("jax")), ("image", true));
}

#[test]
fn with_nothing_said_but_the_kind_a_spec_comes_of_it_that_renders_and_says_what_else_there_is() {
    for kind in KINDS {
        let text = of(kind.name).complete().text().unwrap();
        let specs = read(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", kind.name));
        assert_eq!((specs.len(), specs[0].kind.name, specs[0].named.name.as_str()), (1, kind.name, kind.begin.name));
        assert!(!specs[0].render(None).unwrap().objects.is_empty());
        assert!(text.lines().filter(|line| line.contains('#')).count() >= 4, "{text}");
        let spec = text.split_once("\nspec:").unwrap().1;
        assert!(!spec.contains(['<', '>', '!', '?']), "{text}");
    }
}

#[test]
fn every_choice_makes_a_spec() {
    let mut count = 0;
    for kind in KINDS {
        for question in kind.begin.questions {
            for choice in (question.choices)() {
                let text = of(kind.name).with(question.key, choice).complete().text().unwrap();
                let specs = read(&text).unwrap_or_else(|error| panic!("{} {choice}: {error}\n{text}", kind.name));
                specs[0].render(None).unwrap();
                count += 1;
            }
        }
    }
    assert!(count >= 20, "{count}");
}

/// What of an answer stands in the file is what was answered.
#[test]
fn every_answer_stands_in_the_file() {
    for (kind, key, answer, line) in [
        ("TrainingJob", "framework", "jax", "  framework: jax"),
        ("TrainingJob", "image", "a/b:1", "  image: a/b:1"),
        ("TrainingJob", "command", "python 'my train.py'", "  command: [\"python\",\"my train.py\"]"),
        ("TrainingJob", "workers", "2..8", "  workers: 2..8"),
        ("TrainingJob", "accelerators", "H100:8", "  accelerators: H100:8"),
        ("TrainingJob", "dataset", "imagenet/val:/data", "    /data: imagenet/val"),
        ("TrainingJob", "results", "results:/output", "    /output: results"),
        ("TrainingJob", "expected-duration", "8h", "  expectedDuration: 8h"),
        ("ModelServer", "runtime", "triton", "  runtime: triton"),
        ("ModelServer", "model", "s3://models/bert", "  model: s3://models/bert"),
        ("ModelServer", "image", "a/b:1", "  image: a/b:1"),
        ("ModelServer", "replicas", "2..10", "  replicas: 2..10"),
        ("ModelServer", "cpu", "500m", "  cpu: 500m"),
        ("ModelServer", "memory", "8Gi", "  memory: 8Gi"),
        ("Pipeline", "schedule", "0 3 * * *", "  schedule: \"0 3 * * *\""),
        ("Sweep", "parallel", "2", "  parallel: 2"),
        ("BatchJob", "chunks", "7", "  chunks: 7"),
        ("TrackingServer", "database", "postgresql://db:5432/mlflow", "    url: postgresql://db:5432/mlflow"),
        ("TrackingServer", "database-user", "ml", "    user: ml"),
        ("TrackingServer", "database-password", "db/secret", "    password: db/secret"),
        ("TrackingServer", "artifacts", "s3://a/b", "    root: s3://a/b"),
        ("Dataset", "name", "images", "    images:"),
        ("Dataset", "size", "2Ti", "      size: 2Ti"),
        ("Dataset", "class", "fast", "      class: fast"),
        ("Team", "namespace", "vision", "  namespace: vision"),
        ("Team", "gpus", "20", "    nvidia.com/gpu: 20"),
    ] {
        let before = of(kind);
        assert_eq!(before.objection(key, answer), None, "{kind} {key}");
        let text = before.with(key, answer).complete().text().unwrap();
        assert!(text.lines().any(|have| have == line || have.starts_with(&format!("{line} "))), "{kind} {key}: {line}\n{text}");
        read(&text).unwrap_or_else(|error| panic!("{kind} {key}: {error}\n{text}"));
    }
}

#[test]
fn a_wrong_answer_is_told_at_once_with_what_would_be_right() {
    for (kind, key, answer, said) in [
        ("TrainingJob", "name", "My Job", "metadata.name"),
        ("TrainingJob", "framework", "caffe", "none of pytorch, tensorflow"),
        ("TrainingJob", "accelerators", "H1OO:8", "did you mean `H100`"),
        ("TrainingJob", "workers", "many", "spec.workers"),
        ("TrainingJob", "dataset", "data", "CLAIM:PATH"),
        ("TrainingJob", "command", "sh -c 'x", "never closed"),
        ("TrainingJob", "image", "a\"\nspec: {user: 0}", "spec.image"),
        ("TrainingJob", "size", "1Gi", "a TrainingJob has no size"),
        ("ModelServer", "port", "80", "does not go with"),
        ("Dataset", "size", "much", "spec.claims"),
    ] {
        let said_of_it = of(kind).objection(key, answer);
        assert!(said_of_it.as_ref().is_some_and(|text| text.contains(said)), "{kind} {key} {answer}: {said_of_it:?}");
    }
    assert_eq!(of("TrainingJob").objection("accelerators", "H100:8"), None);
    assert!(Answers::default().objection("kind", "Cron").unwrap().contains("none of TrainingJob"));
}

#[test]
fn none_leaves_out_what_has_a_default() {
    let text = of("TrainingJob").with("command", "none").with("accelerators", "none").complete().text().unwrap();
    assert!(!text.contains("\n  command:") && !text.contains("\n  accelerators:"), "{text}");
    read(&text).unwrap();
}
