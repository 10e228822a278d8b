//! The authority's file: root certificate, root key, issuer certificate, issuer key, in PEM, in this order. One file, so that
//! rename(2) replaces all of it or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::{self, SectionKind};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::{Authority, Certified};
use crate::{Error, certificate};

/// Name of the authority's file in its directory.
pub const FILE: &str = "authority.pem";

pub(super) fn load(dir: &Path, trust_domain: &str) -> Result<Authority, Error> {
    let path = dir.join(FILE);
    let bytes = fs::read(&path).map_err(|error| Error::File { action: "reading", path: path.clone(), error })?;
    parse(&bytes, trust_domain).map_err(|reason| Error::Malformed { path, reason })
}

fn parse(bytes: &[u8], trust_domain: &str) -> Result<Authority, String> {
    let mut rest = bytes;
    let mut section = |what: &str, wanted: SectionKind| match pem::from_buf(&mut rest) {
        Ok(Some((kind, der))) if kind == wanted => Ok(der),
        Ok(Some((kind, _))) => Err(format!("where {what} should stand is a section of another kind ({kind:?})")),
        Ok(None) => Err(format!("{what} is missing; the file is cut off or not an authority's")),
        Err(error) => Err(format!("{what} cannot be read: {error:?}")),
    };
    let root = section("the root certificate", SectionKind::Certificate)?;
    let root_key = section("the root key", SectionKind::PrivateKey)?;
    let issuer = section("the issuer certificate", SectionKind::Certificate)?;
    let issuer_key = section("the issuer key", SectionKind::PrivateKey)?;
    let root = certified(root, root_key).map_err(|error| format!("the root: {error}"))?;
    let issuer = certified(issuer, issuer_key).map_err(|error| format!("the issuer: {error}"))?;
    Authority::assemble(trust_domain, root, issuer, Vec::new()).map_err(|error| error.to_string())
}

fn certified(certificate: Vec<u8>, key: Vec<u8>) -> Result<Certified, Error> {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), &PKCS_ECDSA_P256_SHA256)
        .map_err(|error| Error::Key(error.to_string()))?;
    Certified::new(CertificateDer::from(certificate), Some(key))
}

pub(super) fn save(authority: &Authority, dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|error| Error::File { action: "making the directory", path: dir.into(), error })?;
    let mut text = String::new();
    for part in [&authority.root, &authority.issuer] {
        text += &certificate::to_pem("CERTIFICATE", &part.certificate);
        let key = part
            .key
            .as_ref()
            .ok_or_else(|| Error::Key("an authority whose root key is elsewhere is not saved".into()))?;
        text += &certificate::to_pem("PRIVATE KEY", key.serialized_der());
    }
    write_atomically(&dir.join(FILE), 0o600, text.as_bytes())
}

/// Writes a new file beside `path` and renames it over `path` when it is on the disk. On any error `path` is as it was.
pub(super) fn write_atomically(path: &Path, mode: u32, contents: &[u8]) -> Result<(), Error> {
    replace(path, contents, |new| {
        // Left by a process that died here; create_new follows and reuses nothing.
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new)?;
        // The process's umask may have taken bits away; it can never have added any.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(file)
    })
}

fn replace(path: &Path, contents: &[u8], open: impl FnOnce(&Path) -> io::Result<File>) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || {
        let mut file = open(&new)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    if let Err(error) = write() {
        // Best effort: the next attempt removes it too.
        let _ = fs::remove_file(&new);
        return Err(Error::File { action: "writing", path: path.into(), error });
    }
    // The rename itself must survive a crash; a file system that cannot sync directories is not an error of ours.
    if let Some(Ok(dir)) = path.parent().map(File::open) {
        let _ = dir.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("minimesh-authority-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_old_file_stays() {
        let dir = scratch("full");
        let path = dir.join(FILE);
        fs::write(&path, "old").unwrap();
        let full = |_: &Path| OpenOptions::new().write(true).open("/dev/full");
        let error = replace(&path, b"new", full).expect_err("no space");
        assert!(error.to_string().contains("authority.pem: writing: No space left on device"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left lying about");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_a_dead_writer_left_is_replaced_and_never_followed() {
        let dir = scratch("left");
        let (path, victim) = (dir.join(FILE), dir.join("victim"));
        fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, dir.join("authority.pem.new")).unwrap();
        write_atomically(&path, 0o600, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&victim).unwrap()), (b"new".to_vec(), b"untouched".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(dir).unwrap();
    }
}
