//! How a `TrackingServer` begins.

use super::{Begin, Question};

pub(in super::super) const TRACKING_SERVER: Begin = Begin {
    name: "mlflow",
    questions: &[
        Question::new("image", "The image, with the drivers of database and object store", "ghcr.io/team/mlflow:3.5"),
        Question::new("database", "The database, without user and password", "postgresql://postgres:5432/mlflow"),
        Question::new("database-user", "Its user", "mlflow"),
        Question::new("database-password", "Where its password is: SECRET/KEY", "mlflow-database/password"),
        Question::new("artifacts", "Where artefacts are kept", "s3://mlflow/artifacts"),
    ],
    text: "\
spec:
  # One with the drivers of your database and object store: MLflow's own image has neither.
  image: <image>
  database:
    url: <database>
    user: <database-user>
    password: <database-password> # SECRET/KEY: kubectl create secret generic SECRET --from-literal=KEY=...
  artifacts:
    root: <artifacts>
    # endpoint: http://minio:9000            # of a store that is not Amazon's
    # accessKey: mlflow-s3/accessKey         # SECRET/KEY
    # secretKey: mlflow-s3/secretKey
  # cpu: 1
  # memory: 2Gi
",
};
