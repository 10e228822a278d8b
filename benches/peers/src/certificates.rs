//! Keys and certificates for peers: an authority, and a leaf for each side, like those of a mesh.

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

/// Name of the server in its certificate, for who does not compare URIs.
pub(crate) const SERVER_NAME: &str = "server.test.svc.cluster.local";

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
            leaf.subject_alt_names = vec![
                SanType::URI(identity(side).try_into()?),
                SanType::DnsName(format!("{side}.test.svc.cluster.local").try_into()?),
            ];
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let leaf = leaf.signed_by(&key, &issuer)?;
            std::fs::write(folder.join(format!("{side}.pem")), leaf.pem() + &key.serialize_pem())?;
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
}

/// The SPIFFE ID of a side.
pub(crate) fn identity(side: &str) -> String {
    format!("spiffe://cluster.local/ns/test/sa/{side}")
}
