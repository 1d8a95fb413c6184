//! Policies judge and score nodes for a pod; a profile says which, and how much each counts.

mod profile;

pub use profile::{Decide, Profile, ProfileError};
