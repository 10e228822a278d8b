//! What is added to a pod: two init containers and two volumes. No annotation chooses images, variables' names or rights here.

use serde_json::{Value, json};

use crate::environment::Variables;
use crate::settings::Settings;

/// The step that programs interception. It runs first, and alone has a right: NET_ADMIN, in the pod's own network namespace.
pub const REDIRECT: &str = "minimesh-redirect";
/// The sidecar.
pub const SIDECAR: &str = "minimesh-proxy";
/// Its user and group, by which interception knows its traffic.
pub const USER: i64 = 2102;

pub(crate) const TRUST: &str = "minimesh-trust";
pub(crate) const TOKEN: &str = "minimesh-token";
/// The sidecar's own ports, which an application in the same pod cannot have.
pub(crate) const PORTS: [i64; 4] = [4140, 4143, ADMIN, 4192];
pub(crate) const ADMIN: i64 = 4191;
const TRUST_FOLDER: &str = "/var/run/minimesh/trust";
const TOKEN_FOLDER: &str = "/var/run/minimesh/token";

/// Programs interception and ends.
pub(crate) fn redirect(settings: &Settings, variables: &Variables, resources: Value) -> Value {
    json!({
        "name": REDIRECT,
        "image": settings.sidecar_image,
        "imagePullPolicy": settings.sidecar_image_pull_policy,
        "args": ["redirect"],
        "env": variables.of_redirect(),
        "resources": resources,
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// The sidecar: an init container that stays (KEP-753), so that the next one starts when it is ready, and that gets its SIGTERM
/// when the application is gone. No liveness probe: a restart would break connections and mend nothing.
pub(crate) fn sidecar(settings: &Settings, variables: &Variables, resources: Value) -> Value {
    let mut env = vec![
        json!({ "name": "MINIMESH_POD_NAMESPACE", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } } }),
        json!({ "name": "MINIMESH_POD_NAME", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.name" } } }),
    ];
    let fixed = [
        ("MINIMESH_CONTROL_PLANE", settings.control_plane()),
        ("MINIMESH_CONTROL_PLANE_IDENTITY", settings.control_plane_identity()),
        ("MINIMESH_TRUST_BUNDLE", format!("{TRUST_FOLDER}/trust-bundle.pem")),
        ("MINIMESH_TOKEN_FILE", format!("{TOKEN_FOLDER}/token")),
        ("MINIMESH_CLUSTER_NETWORKS", settings.cluster_networks.clone()),
    ];
    env.extend(fixed.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    env.extend(variables.of_sidecar());
    json!({
        "name": SIDECAR,
        "image": settings.sidecar_image,
        "imagePullPolicy": settings.sidecar_image_pull_policy,
        "args": ["proxy"],
        "restartPolicy": "Always",
        "env": env,
        "ports": [
            { "name": "minimesh-in", "containerPort": 4143, "protocol": "TCP" },
            { "name": "minimesh-admin", "containerPort": ADMIN, "protocol": "TCP" },
        ],
        "resources": resources,
        "securityContext": {
            "runAsUser": USER,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        // listeners bound, a certificate, the first policy; two minutes for a control plane that is just being installed
        "startupProbe": {
            "httpGet": { "path": "/ready", "port": ADMIN, "scheme": "HTTP" },
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "successThreshold": 1,
            "failureThreshold": 120,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            { "name": TRUST, "mountPath": TRUST_FOLDER, "readOnly": true },
            { "name": TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": true },
        ],
    })
}

/// The public roots (a pod waits until the control plane has put them into its namespace), and a token that is good for nothing
/// but a certificate.
pub(crate) fn volumes() -> [Value; 2] {
    [
        json!({ "name": TRUST, "configMap": { "name": TRUST, "defaultMode": 0o644 } }),
        json!({
            "name": TOKEN,
            "projected": {
                "defaultMode": 0o644,
                "sources": [{
                    "serviceAccountToken": { "audience": "identity.minimesh.io", "expirationSeconds": 3600, "path": "token" },
                }],
            },
        }),
    ]
}
