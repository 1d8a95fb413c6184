//! The manifests that the examples retell, and the volumes that they name.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where the manifests lie beside the project; says loudly that they do not.
pub fn seeds() -> Option<PathBuf> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/seed-manifests");
    let seeds = std::env::var_os("GANGPLANK_SEEDS").map_or(seeds, PathBuf::from);
    if seeds.is_dir() {
        return Some(seeds);
    }
    let _ = writeln!(
        std::io::stderr(),
        "\n==== SKIPPED: the manifests in {} are not there; only deploy/examples were run ====\n",
        seeds.display()
    );
    None
}

/// A claim, and a volume that is its alone.
pub fn volume(namespace: &str, claim: &str) -> String {
    format!(
        "
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {namespace}-{claim}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteMany]
  hostPath: {{path: /none}}
  storageClassName: ''
  claimRef: {{namespace: {namespace}, name: {claim}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {claim}}}
spec:
  accessModes: [ReadWriteMany]
  resources: {{requests: {{storage: 1Gi}}}}
  storageClassName: ''
  volumeName: {namespace}-{claim}
"
    )
}
