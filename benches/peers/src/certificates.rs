//! Keys and certificates for peers: an authority, and a leaf for each side, like those of a mesh.
//!
//! In PEM for those that read files, and in a folder for each side as linkerd2-proxy wants its own: key, request and leaf in DER.

use std::path::{Path, PathBuf};

use minimesh_benches::load::Failure;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// Where the files are.
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them in a folder: an authority, and for each side a chain with the key behind it.
    pub(crate) fn make(folder: &Path) -> Result<Certificates, Failure> {
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        // by the same name as its leaves', it would be taken for theirs
        authority.distinguished_name.push(DnType::CommonName, "authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = authority.self_signed(&key)?;
        let issuer = Issuer::new(authority, key);
        std::fs::write(folder.join("authority.pem"), root.pem())?;
        for side in ["client", "server"] {
            let key = KeyPair::generate()?;
            let mut leaf = CertificateParams::new(Vec::new())?;
            leaf.distinguished_name.push(DnType::CommonName, side);
            leaf.subject_alt_names =
                vec![SanType::URI(identity(side).try_into()?), SanType::DnsName(dns_name(side).try_into()?)];
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let request = leaf.serialize_request(&key)?;
            let leaf = leaf.signed_by(&key, &issuer)?;
            std::fs::write(folder.join(format!("{side}.pem")), leaf.pem() + &key.serialize_pem())?;
            let own = folder.join(side);
            std::fs::create_dir_all(&own)?;
            std::fs::write(own.join("key.p8"), key.serialize_der())?;
            std::fs::write(own.join("csr.der"), request.der())?;
            std::fs::write(own.join("leaf.der"), leaf.der())?;
        }
        Ok(Certificates { folder: folder.to_owned() })
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> String {
        self.folder.join("authority.pem").display().to_string()
    }

    /// Chain and key of `client` or `server`.
    pub(crate) fn leaf(&self, side: &str) -> String {
        self.folder.join(format!("{side}.pem")).display().to_string()
    }

    /// Folder with the same in DER, and the request for it.
    pub(crate) fn identity(&self, side: &str) -> PathBuf {
        self.folder.join(side)
    }
}

/// Name of a side in its certificate, for who does not compare URIs.
pub(crate) fn dns_name(side: &str) -> String {
    format!("{side}.test.svc.cluster.local")
}

/// The SPIFFE ID of a side.
pub(crate) fn identity(side: &str) -> String {
    format!("spiffe://cluster.local/ns/test/sa/{side}")
}
