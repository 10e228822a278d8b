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
    /// `UID:GID`.
    pub(crate) user: &'i str,
}

/// Writes the image of one layer, a tar that is there already.
pub(crate) fn write(image: &Image<'_>, layer: &Path, out: &Path) -> io::Result<()> {
    let opened = File::open(layer)?;
    let layer_size = opened.metadata()?.len();
    let layer_digest = sha256::of(BufReader::new(opened))?;
    let config = json!({
        "architecture": image.architecture,
        "os": "linux",
        "config": { "Entrypoint": image.entrypoint, "Env": image.environment, "User": image.user, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
    })
    .to_string();
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
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        named["annotations"] =
            json!({ "io.containerd.image.name": full(name), "org.opencontainers.image.ref.name": tag });
        named["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
        named
    };
    let index = json!({ "schemaVersion": 2, "manifests": image.names.iter().map(named).collect::<Vec<_>>() });
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

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

/// A name as Kubernetes and containerd complete it before they look it up; an importer takes annotations as they are.
fn full(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

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
    fn the_same_image_is_the_same_bytes_and_its_parts_have_their_digests_as_names() {
        let folder = std::env::temp_dir().join(format!("minimesh-image-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (layer, names) = (folder.join("layer"), ["minimesh:1".to_owned()]);
        std::fs::write(&layer, vec![7; 1024]).unwrap();
        let image = Image { names: &names, architecture: "amd64", entrypoint: &["/a"], environment: &[], user: "1:1" };
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
