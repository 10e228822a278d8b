//! The shop's Kubernetes manifests, embedded: `minimesh demo` writes them out and runs them.
//!
//! Owns the list of files; the text is in `manifests/`, where `kubectl apply -f` finds it too.

/// Every manifest: file name and text, in the order in which they apply.
pub const MANIFESTS: &[(&str, &str)] = &[
    ("00-namespace.yaml", include_str!("../manifests/00-namespace.yaml")),
    ("carts.yaml", include_str!("../manifests/carts.yaml")),
    ("carts-db.yaml", include_str!("../manifests/carts-db.yaml")),
    ("catalogue.yaml", include_str!("../manifests/catalogue.yaml")),
    ("catalogue-db.yaml", include_str!("../manifests/catalogue-db.yaml")),
    ("front-end.yaml", include_str!("../manifests/front-end.yaml")),
    ("orders.yaml", include_str!("../manifests/orders.yaml")),
    ("orders-db.yaml", include_str!("../manifests/orders-db.yaml")),
    ("payment.yaml", include_str!("../manifests/payment.yaml")),
    ("queue-master.yaml", include_str!("../manifests/queue-master.yaml")),
    ("rabbitmq.yaml", include_str!("../manifests/rabbitmq.yaml")),
    ("routes.yaml", include_str!("../manifests/routes.yaml")),
    ("session-db.yaml", include_str!("../manifests/session-db.yaml")),
    ("shipping.yaml", include_str!("../manifests/shipping.yaml")),
    ("user.yaml", include_str!("../manifests/user.yaml")),
    ("user-db.yaml", include_str!("../manifests/user-db.yaml")),
    ("visitor.yaml", include_str!("../manifests/visitor.yaml")),
];
