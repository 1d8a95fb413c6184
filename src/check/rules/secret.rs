//! `secret-in-the-open`: a password where everybody reads it.

use serde_json::json;

use super::{At, Edit, Found, Input, Level, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "secret-in-the-open",
    finds: "A password in a URL (`postgresql://user:password@host`), in a command line, or as the value of a variable whose name says that it is one; keys that are known by their shape.",
    why: "Manifests are kept in repositories, and everybody who may read pods reads it; a command line stands in the process list of the node as well.",
    fix: "A Secret, read by `valueFrom.secretKeyRef`; a command line names the variable: `$(NAME)`. `--fix` writes that with the Secret NAME-secrets, which you make: `kubectl create secret generic`. Change the password: it was in the open.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for container in input.pods().iter().flat_map(super::Pod::containers) {
        let secret = format!("{}-secrets", container.object.name.trim_end_matches('-'));
        let text = input.text(&container);
        let variables = container.all("env");
        let mut open = Vec::new();
        for variable in &variables {
            let (name, Some(value)) = (variable.text_at("name").unwrap_or_default(), variable.get("value")) else { continue };
            let written = value.text().unwrap_or_default();
            let open_named = says_so(name) && is_literal(written);
            if !open_named && !is_secret(written) {
                continue;
            }
            let from = json!({"secretKeyRef": {"name": secret, "key": name}});
            let key = variable.node.entries().iter().find(|(key, _)| key.text() == Some("value")).map(|(key, _)| key);
            let edit = key.map(|key| Edit::entry(text, key, value.node, "valueFrom", &from));
            open.push((written, name));
            found.push(told(&value, &format!("{name} holds a secret that everybody reads"), &secret, name).edits(edit));
        }
        for word in words(&container) {
            let written = word.text().unwrap_or_default();
            let Some(secret_part) = in_word(written) else { continue };
            let same = open.iter().find(|(value, _)| *value == secret_part).map(|(_, name)| *name);
            let name = same.map_or_else(|| variable_name(written), str::to_owned);
            let new = written.replace(secret_part, &format!("$({name})"));
            let mut edits = Vec::new();
            // A script of several lines is left to its author; a variable of the name that says something else, too.
            let taken = same.is_none() && variables.iter().any(|variable| variable.text_at("name") == Some(&name));
            if !written.contains('\n') && !taken {
                edits.push(Edit::replace(text, word.node, &new.into()));
                let item = json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}});
                edits.extend(same.is_none().then(|| Edit::item_of(text, container.node, "env", &item)).flatten());
            }
            found.push(told(&word, "a secret stands in the command line", &secret, &name).edits(edits));
        }
    }
    found
}

fn told(at: &At<'_>, problem: &str, secret: &str, name: &str) -> Found {
    let fix = format!("read it from a Secret: kubectl create secret generic {secret} --from-literal={name}=...");
    Found::new(Level::Error, at, problem, fix)
}

/// The part of a command's word that is a secret.
fn in_word(word: &str) -> Option<&str> {
    let value = word.split_once('=').filter(|(flag, _)| flag.starts_with('-'));
    if let Some((flag, value)) = value {
        let named = says_so(&flag.trim_start_matches('-').replace('-', "_").to_uppercase()) && is_literal(value);
        return (named || is_secret(value)).then_some(value);
    }
    is_secret(word).then_some(word)
}

/// Whether a text is a secret by its shape.
fn is_secret(text: &str) -> bool {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Some((user, _)) = host.rsplit_once('@') {
            return user.split_once(':').is_some_and(|(_, password)| is_literal(password));
        }
    }
    let letters = |text: &str| text.len() >= 16 && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    KNOWN.iter().any(|head| text.strip_prefix(head).is_some_and(letters))
}

/// Whether it is written out, not taken from a variable.
fn is_literal(text: &str) -> bool {
    !text.is_empty() && !text.contains("$(") && !text.contains("${") && !text.starts_with(['$', '<', '/'])
}

/// Whether a name says that its value is one.
fn says_so(name: &str) -> bool {
    let parts: Vec<&str> = name.split('_').collect();
    let last = parts.last().copied().unwrap_or_default();
    matches!(last, "PASSWORD" | "PASSWD" | "SECRET" | "TOKEN" | "PASSPHRASE")
        || ["ACCESS_KEY", "API_KEY", "SECRET_KEY", "PRIVATE_KEY"].iter().any(|end| name.ends_with(end))
}

fn variable_name(word: &str) -> String {
    let flag = word.split_once('=').map_or("", |(flag, _)| flag.trim_start_matches('-'));
    let name: String = flag.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }).collect();
    if name.is_empty() { "SECRET_URL".to_owned() } else { name }
}

/// How keys of well-known services begin.
const KNOWN: &[&str] = &["AKIA", "ghp_", "github_pat_", "hf_", "sk-", "xoxb-", "glpat-"];
