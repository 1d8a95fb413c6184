//! The admission webhook for clusters before 1.36, as functions from an AdmissionReview to its answer.
//!
//! It does what the policies in `deploy/admission` do inside newer API servers, and is held to the same table of cases
//! (`tests/admission/cases.yaml`): fractions become shares, accelerator pods get our scheduler's name, shares get environment that
//! reads what is written at binding, and what no node can grant or only Gangplank may write is refused.
//!
//! ```text
//!   review ─▶ mutate:   rewrite ─▶ amounts ─▶ JSON patch, or a refusal before the API server's own, terser one
//!   review ─▶ validate: amounts, guard     ─▶ yes, a refusal, or a question about the user's rights that only a cluster can answer
//! ```
//! The webhook configurations call it for namespaces that opted in only, so that is not asked again here.

mod amounts;
mod guard;
#[cfg(test)]
mod property;
mod rewrite;
mod template;

use std::sync::Arc;

use serde_json::{Value, json};
use thiserror::Error;

pub use guard::AccessQuestion;

use crate::model::Classes;

/// What differs from installation to installation.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The schedulerName that Gangplank serves.
    pub scheduler: String,
    /// The accelerators that are managed.
    pub classes: Arc<Classes>,
    /// Who may write what records a grant.
    pub writers: Vec<String>,
    /// Groups that may opt namespaces in; others are looked up as `manage` on `namespaces.gangplank.dev`.
    pub operators: Vec<String>,
    /// Namespaces that are never touched, whatever their labels say.
    pub untouched: Vec<String>,
}

impl Rules {
    /// The rules of the shipped manifests, for these accelerators.
    pub fn shipped(classes: Arc<Classes>) -> Self {
        Self {
            scheduler: "gangplank".into(),
            classes,
            writers: vec!["system:serviceaccount:gangplank-system:gangplank".into()],
            operators: vec!["system:masters".into()],
            untouched: vec!["kube-system".into(), "gangplank-system".into()],
        }
    }
}

/// What is said to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Yes, with these JSON patch operations (none: as it is).
    Allow(Vec<Value>),
    /// No, and why, and what to write instead.
    Refuse(String),
    /// Yes if the user has a right that only the cluster knows of.
    Ask(AccessQuestion),
}

impl Verdict {
    const YES: Self = Self::Allow(Vec::new());
}

/// A body that is no AdmissionReview.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReviewError {
    /// Not `admission.k8s.io/v1`.
    #[error("this is {0}, not an AdmissionReview of admission.k8s.io/v1")]
    OtherKind(String),
    /// A part that every review has is missing.
    #[error("the AdmissionReview has no {0}")]
    Missing(&'static str),
}

/// One request of the API server, by reference into the review.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    kind: &'a str,
    operation: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    user: &'a str,
    user_info: &'a Value,
    object: &'a Value,
    /// Null on CREATE.
    old_object: &'a Value,
}

impl<'a> Asked<'a> {
    fn parse(review: &'a Value) -> Result<Self, ReviewError> {
        let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion").unwrap_or_default(), text("/kind").unwrap_or_default());
        if (version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(ReviewError::OtherKind(format!("{kind:?} of {version:?}")));
        }
        let needed = |pointer: &str, name| text(pointer).ok_or(ReviewError::Missing(name));
        Ok(Self {
            kind: needed("/request/kind/kind", "request.kind.kind")?,
            operation: needed("/request/operation", "request.operation")?,
            subresource: text("/request/subResource").unwrap_or_default(),
            namespace: text("/request/namespace").unwrap_or_default(),
            name: text("/request/name").unwrap_or_default(),
            user: needed("/request/userInfo/username", "request.userInfo.username")?,
            user_info: &review["request"]["userInfo"],
            object: &review["request"]["object"],
            old_object: &review["request"]["oldObject"],
        })
    }

    fn is_create(&self) -> bool {
        self.operation == "CREATE"
    }
}

/// What `POST /admission/mutate` says.
///
/// # Errors
/// The body is no AdmissionReview.
pub fn mutate(review: &Value, rules: &Rules) -> Result<Verdict, ReviewError> {
    let asked = Asked::parse(review)?;
    if !is_looked_at(&asked, rules) {
        return Ok(Verdict::YES);
    }
    let Some(rewritten) = rewrite::rewrite(&asked, rules) else { return Ok(Verdict::YES) };
    // Here and not only in `validate`: the API server looks at the object in between, and says less about what is wrong.
    Ok(amounts::refusal(&asked, &rewritten.object, rules).map_or(Verdict::Allow(rewritten.patch), Verdict::Refuse))
}

/// What `POST /admission/validate` says.
///
/// # Errors
/// The body is no AdmissionReview.
pub fn validate(review: &Value, rules: &Rules) -> Result<Verdict, ReviewError> {
    let asked = Asked::parse(review)?;
    if asked.kind == "Namespace" {
        return Ok(guard::namespace_label(&asked, rules));
    }
    if let Some(refusal) = guard::grant_annotations(&asked, rules) {
        return Ok(Verdict::Refuse(refusal));
    }
    if !is_looked_at(&asked, rules) {
        return Ok(Verdict::YES);
    }
    Ok(amounts::refusal(&asked, asked.object, rules).map_or(Verdict::YES, Verdict::Refuse))
}

/// The AdmissionReview that answers `review`.
pub fn answer(review: &Value, verdict: &Result<Verdict, ReviewError>) -> Value {
    let uid = review.pointer("/request/uid").cloned().unwrap_or_default();
    let refused = |code: u16, text: &str| json!({"uid": uid, "allowed": false, "status": {"code": code, "message": text}});
    let response = match verdict {
        Ok(Verdict::Allow(patch)) if patch.is_empty() => json!({"uid": uid, "allowed": true}),
        Ok(Verdict::Allow(patch)) => {
            let patch = base64(Value::from(patch.clone()).to_string().as_bytes());
            json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch})
        }
        Ok(Verdict::Refuse(text)) => refused(403, text),
        Ok(Verdict::Ask(question)) => refused(403, &question.refusal),
        Err(error) => refused(400, &error.to_string()),
    };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

/// Whether pods and templates of this request are any of our business. Pods that someone placed by hand are not, nor those that
/// stand for what a kubelet runs anyway, nor anything in a namespace that must come up without us.
fn is_looked_at(asked: &Asked<'_>, rules: &Rules) -> bool {
    let placed = asked.kind == "Pod" && asked.is_create() && asked.object.pointer("/spec/nodeName").is_some_and(|node| node != "");
    let mirrored = asked.object.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some();
    asked.subresource.is_empty() && !rules.untouched.iter().any(|name| name == asked.namespace) && !placed && !mirrored
}

/// The standard alphabet, padded: what a JSON patch travels in.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0_u32, |group, (i, byte)| group | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let sextet = (group >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::shipped(Arc::default())
    }

    #[test]
    fn base64_is_the_standard_one() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("\u{3ff}?>", "z78/Pg==")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_no_review_is_refused_with_what_it_is_and_not_admitted() {
        for (body, text) in [
            (json!(null), r#"this is "" of "", not an AdmissionReview of admission.k8s.io/v1"#),
            (json!({"apiVersion": "v1", "kind": "Pod"}), r#"this is "Pod" of "v1", not an AdmissionReview of admission.k8s.io/v1"#),
            (json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}), "the AdmissionReview has no request.kind.kind"),
        ] {
            for verdict in [mutate(&body, &rules()), validate(&body, &rules())] {
                assert_eq!(verdict.as_ref().unwrap_err().to_string(), text);
                assert_eq!(answer(&body, &verdict)["response"]["allowed"], json!(false));
            }
        }
    }

    #[test]
    fn an_object_of_any_other_shape_is_let_through_and_left_to_the_api_server() {
        for object in
            [json!(null), json!({"spec": 1}), json!({"spec": {"containers": {}}}), json!({"spec": {"containers": [1, {"resources": []}]}})]
        {
            let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "uid": "1", "kind": {"kind": "Pod"}, "operation": "CREATE", "userInfo": {"username": "tess"}, "object": object}});
            assert_eq!(mutate(&review, &rules()), Ok(Verdict::YES));
            assert_eq!(validate(&review, &rules()), Ok(Verdict::YES));
        }
    }
}
