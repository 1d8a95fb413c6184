//! The protocol against golden files, hostile bytes, and its own client.

mod golden;
mod hostile;
mod round_trip;

use std::sync::{Arc, LazyLock};

use crate::model::Classes;
use crate::policy::Profile;

fn classes() -> Arc<Classes> {
    static SHIPPED: LazyLock<Arc<Classes>> = LazyLock::new(|| Profile::shipped().classes);
    SHIPPED.clone()
}
