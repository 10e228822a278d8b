//! The webhook's own certificate. An authority of its own, whose key is in the Secret `minimesh-injector` of the mesh's namespace
//! so that all replicas have the same; each replica signs its serving certificate itself, again every day. The chart holds
//! nothing random: the authority is made at the first start, and put into the webhook configuration by server-side apply.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode};
use kube::Client;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

/// Signs serving certificates.
pub(crate) struct Authority {
    certificate: String,
    key: String,
    /// Past two thirds of its life.
    old: bool,
}

/// Why there is no certificate, or the webhook configuration does not know it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// The API server said no.
    #[error("{what}: {error}")]
    Api {
        /// What was asked.
        what: String,
        /// Its answer.
        error: Box<kube::Error>,
    },
    /// The Secret holds something else.
    #[error("secret {NAME} does not hold a certificate authority ({0}); delete it, and it is made anew")]
    Contents(String),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

impl Authority {
    /// The one in the Secret, or a new one that is put there.
    pub(crate) async fn load_or_create(client: &Client, namespace: &str) -> Result<Authority, AuthorityError> {
        let folder = format!("/api/v1/namespaces/{namespace}/secrets");
        let path = format!("{folder}/{NAME}");
        // a second round: another replica was faster
        for _ in 0..2 {
            let (made, method, path) = match ask(client, Method::GET, &path, None).await {
                Ok(secret) => {
                    let authority = Authority::read(&secret)?;
                    if !authority.old {
                        return Ok(authority);
                    }
                    let version = secret["metadata"]["resourceVersion"].clone();
                    (Authority::new()?.secret(namespace, version)?, Method::PUT, &path)
                }
                Err(error) if is(&error, StatusCode::NOT_FOUND) => {
                    (Authority::new()?.secret(namespace, Value::Null)?, Method::POST, &folder)
                }
                Err(error) => return Err(failed(format!("reading secret {namespace}/{NAME}"), error)),
            };
            match ask(client, method, path, Some(made)).await {
                Ok(secret) => return Authority::read(&secret),
                Err(error) if is(&error, StatusCode::CONFLICT) => {}
                Err(error) => return Err(failed(format!("writing secret {namespace}/{NAME}"), error)),
            }
        }
        Err(AuthorityError::Contents("other replicas keep changing it".into()))
    }

    /// A new one, good for ten years.
    pub(crate) fn new() -> Result<Authority, AuthorityError> {
        let key = new_key()?;
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "minimesh-injector");
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + LIFE).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(make)?.pem();
        Ok(Authority { certificate, key: key.serialize_pem(), old: false })
    }

    /// Its public half, PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server with a fresh certificate for the Service's name.
    pub(crate) fn server(&self, namespace: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let contents = |error: rcgen::Error| AuthorityError::Contents(error.to_string());
        let authority = KeyPair::from_pem(&self.key).map_err(contents)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, authority).map_err(contents)?;
        let name = format!("{NAME}.{namespace}.svc");
        let mut params = CertificateParams::new(vec![name.clone(), format!("{name}.cluster.local")]).map_err(make)?;
        let now = SystemTime::now();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + SERVING_LIFE).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let leaf = params.signed_by(&key, &issuer).map_err(make)?.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![leaf], key))
            .map_err(|error| AuthorityError::Make(error.to_string()))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(server))
    }

    fn read(secret: &Value) -> Result<Authority, AuthorityError> {
        let field = |name: &str| {
            let text = secret["data"][name].as_str().and_then(|text| STANDARD.decode(text).ok());
            text.and_then(|text| String::from_utf8(text).ok())
                .ok_or_else(|| AuthorityError::Contents(format!("no {name}")))
        };
        let (certificate, key) = (field(CERTIFICATE)?, field(KEY)?);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| AuthorityError::Contents(format!("{CERTIFICATE}: {error:?}")))?;
        let old = made_until(&field(UNTIL)?)?.duration_since(SystemTime::now()).map_or(true, |left| left < LIFE / 3);
        KeyPair::from_pem(&key).map_err(|error| AuthorityError::Contents(format!("{KEY}: {error}")))?;
        if der.is_empty() {
            return Err(AuthorityError::Contents(format!("{CERTIFICATE} is empty")));
        }
        Ok(Authority { certificate, key, old })
    }

    fn secret(&self, namespace: &str, version: Value) -> Result<Value, AuthorityError> {
        let until = SystemTime::now() + LIFE;
        let until =
            until.duration_since(SystemTime::UNIX_EPOCH).map_err(|error| AuthorityError::Make(error.to_string()))?;
        let mut metadata = json!({
            "name": NAME,
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": "minimesh", "app.kubernetes.io/part-of": "minimesh" },
        });
        if !version.is_null() {
            metadata["resourceVersion"] = version;
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {
                CERTIFICATE: STANDARD.encode(&self.certificate),
                KEY: STANDARD.encode(&self.key),
                UNTIL: STANDARD.encode(until.as_secs().to_string()),
            },
        }))
    }
}

/// Whether the API server knows whom to trust.
pub(crate) async fn is_announced(client: &Client, authority: &Authority) -> Result<bool, AuthorityError> {
    let known = configuration(client).await?;
    let bundle = STANDARD.encode(authority.certificate());
    Ok(entries(&known).iter().all(|webhook| webhook["clientConfig"]["caBundle"] == *bundle))
}

/// Tells the API server whom to trust, where it does not know yet. Answers whether it had to.
pub(crate) async fn announce(client: &Client, authority: &Authority) -> Result<bool, AuthorityError> {
    let known = configuration(client).await?;
    let bundle = STANDARD.encode(authority.certificate());
    let webhooks = entries(&known);
    if webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"] == *bundle) {
        return Ok(false);
    }
    let mine = |webhook: &&Value| json!({ "name": webhook["name"], "clientConfig": { "caBundle": bundle } });
    let applied = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": NAME },
        "webhooks": webhooks.iter().map(mine).collect::<Vec<_>>(),
    });
    let path = format!("{CONFIGURATION}?fieldManager={NAME}&force=true");
    let applied = ask(client, Method::PATCH, &path, Some(applied)).await;
    applied.map_err(|error| failed(format!("writing the webhook configuration {NAME}"), error))?;
    Ok(true)
}

async fn configuration(client: &Client) -> Result<Value, AuthorityError> {
    let what = format!("reading the webhook configuration {NAME} (install the chart again if it is gone)");
    ask(client, Method::GET, CONFIGURATION, None).await.map_err(|error| failed(what, error))
}

fn entries(configuration: &Value) -> Vec<&Value> {
    configuration["webhooks"].as_array().into_iter().flatten().collect()
}

async fn ask(client: &Client, method: Method, path: &str, body: Option<Value>) -> Result<Value, kube::Error> {
    let form = if method == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, form).body(body);
    client.request::<Value>(request.map_err(kube::Error::HttpError)?).await
}

fn is(error: &kube::Error, status: StatusCode) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.code == status.as_u16())
}

fn failed(what: String, error: kube::Error) -> AuthorityError {
    AuthorityError::Api { what, error: Box::new(error) }
}

fn made_until(text: &str) -> Result<SystemTime, AuthorityError> {
    let seconds: u64 = text.trim().parse().map_err(|_| AuthorityError::Contents(format!("{UNTIL} is no time")))?;
    let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    until.ok_or_else(|| AuthorityError::Contents(format!("{UNTIL} is no time")))
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)
}

fn make(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Make(error.to_string())
}

/// Of the Secret, the Service, the webhook configuration and the field manager.
pub(crate) const NAME: &str = "minimesh-injector";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/minimesh-injector";
const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const UNTIL: &str = "until";
const DAY: u64 = 86_400;
const LIFE: Duration = Duration::from_secs(10 * 365 * DAY);
/// Made again every day, and at each start.
const SERVING_LIFE: Duration = Duration::from_secs(30 * DAY);
/// Clocks of control-plane nodes differ.
const BACKDATE: Duration = Duration::from_secs(DAY);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_reads_back_from_its_secret() {
        let made = Authority::new().expect("made");
        let secret = made.secret("minimesh", Value::Null).expect("a secret");
        let read = Authority::read(&secret).expect("read");
        assert_eq!(
            (read.certificate.as_str(), read.key.as_str(), read.old),
            (made.certificate(), made.key.as_str(), false)
        );
        read.server("minimesh").expect("a server");
    }

    #[test]
    fn one_that_is_near_its_end_is_old_and_a_broken_one_is_named() {
        let mut secret = Authority::new().expect("made").secret("minimesh", Value::Null).expect("a secret");
        secret["data"][UNTIL] = STANDARD.encode("1000").into();
        assert!(Authority::read(&secret).expect("read").old);
        secret["data"][KEY] = "?".into();
        let error = Authority::read(&secret).err().expect("broken").to_string();
        assert!(error.contains("no ca.key") && error.contains("delete it"), "{error}");
    }
}
