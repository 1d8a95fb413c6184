//! Bytes that kube-scheduler would not send: an answer each, never a panic, and a text that says what is wrong.

use super::super::*;
use super::classes;

/// Every verb's parser, and what a good request of it looks like.
const GOOD: [(&str, &str); 4] = [
    ("filter", r#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":["a"]}"#),
    ("prioritize", r#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":["a"]}"#),
    ("preempt", r#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNameToMetaVictims":{"a":{"Pods":[{"UID":"v"}],"NumPDBViolations":0}}}"#),
    ("bind", r#"{"PodName":"p","PodNamespace":"n","PodUID":"u","Node":"a"}"#),
];

fn parse(verb: &str, body: &[u8]) -> Result<(), WireError> {
    match verb {
        "filter" => parse_filter(body, &classes()).map(|_| ()),
        "prioritize" => parse_prioritize(body, &classes()).map(|_| ()),
        "preempt" => parse_preempt(body, &classes()).map(|_| ()),
        _ => parse_bind(body).map(|_| ()),
    }
}

fn refused(verb: &str, body: &[u8]) -> String {
    parse(verb, body).expect_err(&String::from_utf8_lossy(&body[..body.len().min(200)])).to_string()
}

#[test]
fn every_truncation_of_a_good_request_is_refused() {
    for (verb, good) in GOOD {
        parse(verb, good.as_bytes()).unwrap();
        for len in 0..good.len() {
            let problem = refused(verb, &good.as_bytes()[..len]);
            assert!(problem.starts_with(verb) && problem.contains("line"), "{problem}");
        }
    }
}

#[test]
fn wrong_types_name_what_was_expected() {
    for (verb, good) in GOOD {
        for body in ["null", "[]", "7", "\"text\"", "{}", "{\"Pod\":7}", "{\"Node\":{}}", "\u{feff}{}"] {
            refused(verb, body.as_bytes());
        }
        refused(verb, format!("{good}{good}").as_bytes());
        refused(verb, &[0xff, 0xfe]);
        refused(verb, &[]);
    }
    for (body, problem) in [
        (r#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":[7]}"#, "invalid type: integer `7`, expected a name"),
        (r#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNames":"a"}"#, "expected a list of names"),
        (r#"{"Pod":{"metadata":{"name":"p","uid":"u"},"spec":{"priority":99999999999}},"NodeNames":[]}"#, "expected i32"),
        (r#"{"Pod":{"metadata":{"name":"p","uid":"u"},"spec":{"priority":1e3}},"NodeNames":[]}"#, "expected i32"),
        (r#"{"Pod":{"metadata":{"name":"p","uid":"u"}}}"#, "`NodeNames` is missing"),
        (r#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"Nodes":null,"NodeNames":null}"#, "`NodeNames` is missing"),
        (r#"{"Pod":{"metadata":{"name":"p"}},"NodeNames":[]}"#, "`metadata.uid` is missing"),
        (r#"{"Pod":{"metadata":{"uid":"u"}},"NodeNames":[]}"#, "`metadata.name` is missing"),
        (r#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"Nodes":{"items":[{"metadata":{}}]}}"#, "`Nodes.items[0]`: missing field `name`"),
    ] {
        let text = refused("filter", body.as_bytes());
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn a_duplicate_key_is_refused_wherever_two_readers_could_differ() {
    let pods = [
        r#"{"metadata":{"name":"p","uid":"u"},"metadata":{"name":"q","uid":"w"}}"#,
        r#"{"metadata":{"name":"p","name":"q","uid":"u"}}"#,
        r#"{"metadata":{"name":"p","uid":"u","annotations":{"gangplank.dev/devices":"{}","gangplank.dev/devices":"[]"}}}"#,
        r#"{"metadata":{"name":"p","uid":"u"},"spec":{"containers":[{"name":"c","resources":{"limits":{"nvidia.com/gpu":"1","nvidia.com/gpu":"8"}}}]}}"#,
    ];
    for pod in pods {
        let text = refused("filter", format!(r#"{{"Pod":{pod},"NodeNames":[]}}"#).as_bytes());
        assert!(text.contains("duplicate"), "{text}");
    }
    refused("bind", br#"{"PodName":"p","PodName":"q","PodNamespace":"n","PodUID":"u","Node":"a"}"#);
    let twice = br#"{"Pod":{"metadata":{"name":"p","uid":"u"}},"NodeNameToMetaVictims":{"a":{"Pods":[]},"\u0061":{"Pods":[]}}}"#;
    assert!(refused("preempt", twice).contains("there twice"));
}

#[test]
fn unknown_fields_and_unknown_case_are_passed_over() {
    parse("filter", br#"{"pod":7,"NODENAMES":3,"New":{"a":[]},"Pod":{"New":1,"metadata":{"name":"p","uid":"u","managedFields":[{"fieldsV1":{}}]}},"NodeNames":[]}"#)
        .unwrap();
}

#[test]
fn nesting_a_million_deep_neither_overflows_nor_hangs() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for (verb, good) in GOOD {
        parse(verb, good.replacen('{', &format!(r#"{{"New":{deep},"#), 1).as_bytes()).unwrap();
        refused(verb, deep.as_bytes());
    }
    // Where the depth is in something that we keep, it is refused.
    let preferred = format!(r#"{{"preferredDuringSchedulingIgnoredDuringExecution":[{deep}]}}"#);
    let pod = format!(r#"{{"metadata":{{"name":"p","uid":"u"}},"spec":{{"affinity":{{"nodeAffinity":{preferred}}}}}}}"#);
    assert!(refused("filter", format!(r#"{{"Pod":{pod},"NodeNames":[]}}"#).as_bytes()).contains("recursion limit"));
    let nodes = format!(r#"{{"Pod":{{"metadata":{{"name":"p","uid":"u"}}}},"Nodes":{{"items":[{deep}]}}}}"#);
    refused("filter", nodes.as_bytes());
}

#[test]
fn nine_mebibytes_are_refused_unread() {
    for (verb, good) in GOOD {
        let mut body = good.as_bytes().to_vec();
        body.resize(9 * 1024 * 1024, b' ');
        assert!(matches!(parse(verb, &body), Err(WireError::TooLarge { bytes, bytes_max: BODY_BYTES_MAX, .. }) if bytes == body.len()));
        body.truncate(BODY_BYTES_MAX);
        parse(verb, &body).unwrap();
    }
}
