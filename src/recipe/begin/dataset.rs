//! How a `Dataset` begins: with one claim of its own name.

use super::{Begin, Question};

pub(in super::super) const DATASET: Begin = Begin {
    name: "dataset",
    questions: &[
        Question::new("size", "How much", "100Gi"),
        Question::new("access-mode", "Who may mount it", "ReadWriteMany")
            .of(|| vec!["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce", "ReadWriteOncePod"]),
        Question::new("class", "The StorageClass; the cluster's default, if left out", ""),
    ],
    text: "\
spec:
  claims:
    <name>:
      size: <size>
      accessMode: <access-mode> # ReadOnlyMany is for volumes that somebody else filled
      class: <class>
!class       # class: fast-nfs          # the cluster's default, without it
",
};
