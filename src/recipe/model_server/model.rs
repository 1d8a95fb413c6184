//! Where a model is. Decides which sources are taken: claims of the namespace, object stores, the Hugging Face hub.

use crate::policy::Mistake;
use crate::recipe::text;

/// A checked source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// A claim, and a folder in it.
    Claim {
        /// Its name.
        claim: String,
        /// Where in it.
        folder: Option<String>,
    },
    /// `s3://...` or `gs://...`, which the server reads itself.
    Bucket(String),
    /// `organisation/name` on the Hugging Face hub.
    Hub(String),
}

impl Model {
    pub(super) fn check(source: &str) -> Result<Self, Mistake> {
        let Some((scheme, rest)) = source.split_once("://") else {
            let (claim, folder) = text::claim("model", source)?;
            return Ok(Self::Claim { claim: claim.to_owned(), folder: folder.map(str::to_owned) });
        };
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let climbs = rest.split('/').any(|part| part == ".." || part == ".");
        let fine = !rest.is_empty() && rest.len() <= 512 && rest.bytes().all(letters) && !climbs && !rest.starts_with('/');
        match scheme {
            _ if rest.contains('@') => {
                Err(Mistake::new("model", "has a password in it", "leave it out: give it by `secretEnv` or a `serviceAccount`"))
            }
            "s3" | "gs" if fine => Ok(Self::Bucket(source.to_owned())),
            "hf" if fine && rest.split('/').count() == 2 => Ok(Self::Hub(rest.to_owned())),
            "s3" | "gs" | "hf" => {
                let problem = format!("`{}` is no place of a model", text::cut(source));
                Err(Mistake::new("model", problem, "write such as s3://bucket/folder or hf://organisation/name"))
            }
            _ => {
                let problem = format!("`{}` is of no scheme that servers read", text::cut(source));
                Err(Mistake::new("model", problem, "name a claim, s3://bucket/folder, gs://bucket/folder or hf://organisation/name"))
            }
        }
    }

    /// As KServe writes it.
    pub(super) fn storage_uri(&self) -> String {
        match self {
            Self::Claim { claim, folder } => format!("pvc://{claim}/{}", folder.as_deref().unwrap_or_default()),
            Self::Bucket(address) => address.clone(),
            Self::Hub(name) => format!("hf://{name}"),
        }
    }
}
