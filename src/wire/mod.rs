//! The only place with JSON names: the extender protocol, Kubernetes objects, our CRDs and annotations, parsed into the model and rendered from it.
