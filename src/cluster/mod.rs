//! The Kubernetes side: watches become inputs, orders and effects become API calls.
