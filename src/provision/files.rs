//! Reads spec files, stdin for `-`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::recipe::{self, Spec, SpecError};

/// A file with its specs.
#[derive(Debug)]
pub struct SpecFile {
    /// As it was named.
    pub file: String,
    /// In its order.
    pub specs: Vec<Spec>,
}

/// Why a file gives no specs.
#[derive(Debug, Error)]
pub enum FilesError {
    /// It cannot be read.
    #[error("cannot read {file}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// There is a mistake in it.
    #[error(transparent)]
    Spec(SpecError),
}

/// The specs of files.
///
/// # Errors
/// The first file that cannot be read, or the first mistake.
pub fn read(files: &[PathBuf]) -> Result<Vec<SpecFile>, FilesError> {
    files.iter().map(|path| one(path)).collect()
}

fn one(path: &Path) -> Result<SpecFile, FilesError> {
    let file = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let text = text(path).map_err(|source| FilesError::Unreadable { file: file.clone(), source })?;
    let specs = recipe::read(&text).map_err(|error| FilesError::Spec(error.in_file(file.as_str())))?;
    Ok(SpecFile { file, specs })
}

fn text(path: &Path) -> io::Result<String> {
    // More than a spec may have is not read to the end: `/dev/zero` is a path, too.
    let mut text = String::new();
    let bytes_max = 2 << 20;
    if path == Path::new("-") {
        io::stdin().take(bytes_max).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(bytes_max).read_to_string(&mut text)?;
    }
    Ok(text)
}
