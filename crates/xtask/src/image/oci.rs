//! A container image in one file that every runtime takes: the OCI's layout (containerd's `ctr`, `k3s ctr`, podman, Docker
//! from 25 on) and Docker's own `manifest.json` over the same parts. The same image makes the same bytes.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use serde_json::{Value, json};

use super::sha256;
use super::tar::Archive;

/// What is said of a layer's files.
pub(crate) struct Image<'i> {
    /// `NAME:TAG` each.
    pub(crate) names: &'i [String],
    /// As the OCI names it: `amd64`, `arm64`.
    pub(crate) architecture: &'i str,
    pub(crate) entrypoint: &'i [&'i str],
    pub(crate) environment: &'i [&'i str],
    /// What it says of itself: keys and values.
    pub(crate) labels: &'i [(&'i str, &'i str)],
    /// `UID:GID`.
    pub(crate) user: &'i str,
}

/// Writes the image of one layer, a tar that is there already.
pub(crate) fn write(image: &Image<'_>, layer: &Path, out: &Path) -> io::Result<()> {
    let opened = File::open(layer)?;
    let layer_size = opened.metadata()?.len();
    let layer_digest = sha256::of(BufReader::new(opened))?;
    let config = configuration(image, &layer_digest).to_string();
    let config_digest = sha256::of(config.as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config_digest, config.len() as u64),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer_size)],
    })
    .to_string();
    let manifest_digest = sha256::of(manifest.as_bytes())?;
    let named = |name: &String| {
        let mut named = descriptor(MANIFEST, &manifest_digest, manifest.len() as u64);
        let tag = parts(name).map_or("latest", |(_, tag)| tag);
        named["annotations"] =
            json!({ "io.containerd.image.name": full(name), "org.opencontainers.image.ref.name": tag });
        named["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
        named
    };
    let manifests: Vec<Value> = image.names.iter().map(named).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let docker = json!([{ "Config": blob(&config_digest), "RepoTags": image.names, "Layers": [blob(&layer_digest)] }]);

    let mut archive = Archive::new(BufWriter::new(File::create(out)?));
    archive.bytes("oci-layout", 0o644, json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
    archive.bytes("index.json", 0o644, index.to_string().as_bytes())?;
    archive.bytes("manifest.json", 0o644, docker.to_string().as_bytes())?;
    archive.bytes(&blob(&manifest_digest), 0o644, manifest.as_bytes())?;
    archive.bytes(&blob(&config_digest), 0o644, config.as_bytes())?;
    archive.file(&blob(&layer_digest), 0o644, layer_size, File::open(layer)?)?;
    archive.finish().map(drop)
}

/// How containers of it are started. Its one layer is not compressed, so that the layer's digest is that of its content, too.
fn configuration(image: &Image<'_>, layer_digest: &str) -> Value {
    let labels: serde_json::Map<String, Value> =
        image.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    json!({
        "created": NEVER,
        "architecture": image.architecture,
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": image.environment,
            "Labels": labels,
            "User": image.user,
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created": NEVER, "created_by": "cargo xtask" }],
    })
}

/// `NAME:TAG`, if every tool takes it for one: an image of another name is found by nobody, and a runtime says so late.
pub(crate) fn checked(name: &str) -> Result<String, String> {
    let known = parts(name).filter(|(path, tag)| is_path(path) && is_tag(tag));
    known
        .map(|_| name.to_owned())
        .ok_or_else(|| format!("{name:?} is no NAME:TAG, like minimesh:1 or registry:5000/a/minimesh:1"))
}

/// What stands before the tag, and the tag. The colon of a port is in front of a slash.
fn parts(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))
}

fn is_tag(tag: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=128).contains(&tag.len()) && tag.chars().all(inner) && !tag.starts_with(['.', '-'])
}

/// Words between slashes; the first may be a host, with its port.
fn is_path(path: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_word = |word: &str| {
        let inner = |c: char| edge(c) || matches!(c, '_' | '.' | '-');
        word.starts_with(edge) && word.ends_with(edge) && word.chars().all(inner)
    };
    let is_host = |host: &str| {
        let (host, port) = host.split_once(':').unwrap_or((host, "0"));
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        !host.is_empty() && host.chars().all(inner) && port.parse::<u16>().is_ok()
    };
    match path.split_once('/') {
        Some((host, rest)) if is_named(host) => is_host(host) && rest.split('/').all(is_word),
        _ => path.split('/').all(is_word),
    }
}

/// Whether the first word of a name is a host, and not a folder of the usual one.
fn is_named(host: &str) -> bool {
    host.contains(['.', ':']) || host == "localhost"
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

/// A name as Kubernetes and containerd complete it before they look it up; an importer takes annotations as they are.
fn full(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if is_named(host) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// When it was made is no part of what it is; some tools need a time all the same.
const NEVER: &str = "1970-01-01T00:00:00Z";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_the_kubelet_completes_them() {
        assert_eq!(full("minimesh:0.1.0"), "docker.io/library/minimesh:0.1.0");
        assert_eq!(full("minimesh/sock-shop:0.1.0"), "docker.io/minimesh/sock-shop:0.1.0");
        assert_eq!(full("registry.example:5000/a/b:1"), "registry.example:5000/a/b:1");
    }

    #[test]
    fn names_that_some_tool_would_refuse_are_refused() {
        for name in
            ["minimesh:0.1.0", "minimesh/sock-shop:a_B-1", "registry:5000/a/b:1", "localhost/a:1", "a.Example/b-c:1"]
        {
            assert_eq!(checked(name).as_deref(), Ok(name));
        }
        for name in
            ["minimesh", "a:", "a:.1", "a:1 2", ":1", "A:1", "/a:1", "a//b:1", "registry:5000/a", "r:x/a:1", "a-:1"]
        {
            assert!(checked(name).is_err(), "{name}");
        }
        assert_eq!(parts("registry:5000/a"), None);
    }

    #[test]
    fn the_same_image_is_the_same_bytes_and_its_parts_have_their_digests_as_names() {
        let folder = std::env::temp_dir().join(format!("minimesh-image-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (layer, names) = (folder.join("layer"), ["minimesh:1".to_owned()]);
        std::fs::write(&layer, vec![7; 1024]).unwrap();
        let (entrypoint, labels) = (["/a"], [("title", "a")]);
        let image = Image {
            names: &names,
            architecture: "amd64",
            entrypoint: &entrypoint,
            environment: &[],
            labels: &labels,
            user: "1:1",
        };
        let bytes = ["one", "two"].map(|name| {
            write(&image, &layer, &folder.join(name)).unwrap();
            std::fs::read(folder.join(name)).unwrap()
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(bytes[0], bytes[1]);
        let digest = sha256::of([7; 1024].as_slice()).unwrap();
        let expected = blob(&digest).into_bytes();
        // in docker's manifest, and as the entry's name
        assert_eq!(bytes[0].windows(expected.len()).filter(|window| *window == expected).count(), 2);
    }
}
