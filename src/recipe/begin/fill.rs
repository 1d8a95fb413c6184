//! Puts answers into a text, line by line: `<key>` becomes the answer as YAML writes it, `<key:words>` the words of a command,
//! `<key:mount>` a path and its claim, `<key:about>` what help says of it. A line whose answer is empty is left out; `?key` and
//! `!key` before a line keep it for an answer, or for none. A comment behind a value stands in its column.

use std::fmt::Write as _;

use super::super::{framework, runtime};
use super::Answers;

/// The text with the answers in it.
pub(super) fn fill(text: &str, answers: &Answers) -> Result<String, String> {
    let mut out = String::new();
    for line in text.lines() {
        let Some(line) = kept(line, answers) else { continue };
        let (value, comment) = match line.split_once(" # ") {
            Some((value, comment)) if line.contains('<') => (value, Some(comment)),
            _ => (line, None),
        };
        let Some(value) = filled(value, answers)? else { continue };
        match comment.map(|comment| filled(comment, answers)).transpose()?.flatten() {
            Some(comment) => writeln!(out, "{value:<COLUMN$} # {comment}"),
            None => writeln!(out, "{value}"),
        }
        .map_err(|error| error.to_string())?;
    }
    Ok(out)
}

/// The line without its condition, if that holds.
fn kept<'a>(line: &'a str, answers: &Answers) -> Option<&'a str> {
    let (wants, rest) = match line.as_bytes().first() {
        Some(b'?') => (true, &line[1..]),
        Some(b'!') => (false, &line[1..]),
        _ => return Some(line),
    };
    let (key, rest) = rest.split_once(' ')?;
    (answers.get(key).is_empty() != wants).then_some(rest)
}

/// The line with its answers; nothing if one of them is empty.
fn filled(line: &str, answers: &Answers) -> Result<Option<String>, String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('<') {
        let (place, after) = after.split_once('>').ok_or("a place in the text has no end")?;
        let (key, form) = place.split_once(':').unwrap_or((place, ""));
        let answer = answers.get(key);
        if answer.is_empty() {
            return Ok(None);
        }
        out.push_str(before);
        out.push_str(&match form {
            "words" => serde_json::to_string(&words(answer)?).map_err(|error| error.to_string())?,
            "mount" => mount(answer)?,
            "about" => about(key, answer).to_owned(),
            _ => quoted(answer),
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(Some(out))
}

/// A text as YAML takes it: as it is where that is plain, else in quotes.
fn quoted(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:|".contains(&byte));
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'/');
    if plain && begins && !text.ends_with(':') { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// What help says of a framework or a runtime.
fn about(key: &str, answer: &str) -> &'static str {
    let frameworks = framework::ALL.iter().map(|it| ("framework", it.name, it.about));
    let mut all = frameworks.chain(runtime::ALL.iter().map(|it| ("runtime", it.name, it.about)));
    all.find(|(of, name, _)| (*of, *name) == (key, answer)).map_or("", |(_, _, about)| about)
}

/// `CLAIM:PATH` as the entry that it becomes.
fn mount(answer: &str) -> Result<String, String> {
    let (claim, path) = answer
        .split_once(':')
        .ok_or_else(|| format!("`{answer}` does not say where it is mounted: write CLAIM:PATH, such as data:/data"))?;
    Ok(format!("{}: {}", quoted(path), quoted(claim)))
}

/// The words of a command as a shell would part them, or of a JSON list. Nothing is put in for `$` or `*`.
fn words(answer: &str) -> Result<Vec<String>, String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(answer) {
        return Ok(list);
    }
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for letter in answer.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a {open} of the command is never closed"));
    }
    words.extend(word);
    Ok(words)
}

const COLUMN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_and_go_with_their_answers_and_values_are_quoted_where_needed() {
        let text = "a: <a> # why\nb: <b>\n?b b is there\n!b # b: 1  # so\nc: <c:words>\nd:\n  <d:mount>\n";
        let some = Answers::default().with("a", "x: {y}").with("c", "sh -c 'echo \"$A b\"' \"\"").with("d", "claim/folder:/data");
        let filled = fill(text, &some).unwrap();
        assert_eq!(
            filled,
            format!(
                "{:<32} # why\n# b: 1  # so\nc: [\"sh\",\"-c\",\"echo \\\"$A b\\\"\",\"\"]\nd:\n  /data: claim/folder\n",
                "a: \"x: {y}\""
            )
        );
        assert!(fill(text, &some.clone().with("b", "1")).unwrap().contains("\nb: 1\nb is there\nc"));
        assert!(fill(text, &some.clone().with("c", "echo 'x")).unwrap_err().contains("never closed"));
        assert!(fill(text, &some.with("d", "claim")).unwrap_err().contains("CLAIM:PATH"));
    }

    #[test]
    fn a_list_of_words_is_taken_as_it_is() {
        assert_eq!(words(r#"["a b", "'c"]"#).unwrap(), ["a b", "'c"]);
        assert_eq!(words("  a  b ").unwrap(), ["a", "b"]);
    }
}
