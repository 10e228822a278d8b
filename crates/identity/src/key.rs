//! Private keys of leaves: made here, used through [`Leaf`](crate::Leaf), never written, never shown.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData, SanType};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{SubjectPublicKeyInfoDer, alg_id};

use crate::{Error, SpiffeId};

/// An ECDSA key on P-256. It exists in the memory of aws-lc alone, which clears it when the last clone is dropped; there is no
/// way to serialise it.
#[derive(Clone)]
pub struct PrivateKey(Arc<EcdsaKeyPair>);

impl PrivateKey {
    /// A fresh key.
    pub fn generate() -> Result<PrivateKey, Error> {
        match EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING) {
            Ok(key) => Ok(PrivateKey(Arc::new(key))),
            Err(_) => Err(Error::Key("the system gave no randomness".into())),
        }
    }

    /// A certificate signing request (DER) that proves possession of the key and asks for `id`, or leaves it to the authority.
    pub fn csr(&self, id: Option<&SpiffeId>) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(id) = id {
            let uri = id.as_str().try_into().map_err(|error: rcgen::Error| Error::Csr(error.to_string()))?;
            params.subject_alt_names = vec![SanType::URI(uri)];
        }
        let csr = params.serialize_request(self).map_err(|error| Error::Csr(error.to_string()))?;
        Ok(csr.der().to_vec())
    }

    pub(crate) fn public_key_info(&self) -> SubjectPublicKeyInfoDer<'static> {
        rustls::sign::public_key_to_spki(&alg_id::ECDSA_P256, self.0.public_key())
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signature(message).ok_or(rcgen::Error::RemoteKeyError)
    }
}

impl SigningKey for PrivateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.public_key_info())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signature(message).ok_or_else(|| rustls::Error::General("signing failed".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
