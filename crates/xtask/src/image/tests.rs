//! The image as others read it: `tar`, `sha256sum`, a process with nothing but its files.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::host;

/// A folder of one test, where programs may be started: beside the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let own = std::env::current_exe().unwrap();
        let folder = own.with_file_name(format!("minimesh-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    /// A static program that says what it is told, as our own says its version.
    fn program(&self, says: &str) -> PathBuf {
        let (source, program) = (self.0.join("program.rs"), self.0.join("program"));
        std::fs::write(&source, format!("fn main() {{ println!({says:?}); }}")).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-o"]);
        assert!(rustc.arg(&program).arg(&source).status().unwrap().success());
        program
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program prints, which must end well.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn options_are_understood_or_refused() {
    let wanted = Wanted::parse(&["--arch", "arm64", "--name", "a:1", "--name", "b:2"]).unwrap();
    let expected = Wanted {
        architecture: Some(Architecture::Arm64),
        names: vec!["a:1".into(), "b:2".into()],
        ..Wanted::default()
    };
    assert_eq!(wanted, expected);
    assert_eq!(Wanted::default().profile, "shipped");
    for bad in [&["--arch", "riscv"][..], &["--arch"], &["--name", "no tag"], &["--fast"], &["--output"]] {
        assert!(Wanted::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_layer_is_the_program_its_links_and_two_files_with_names() {
    let folder = Folder::new("image-layer");
    let (program, layer) = (folder.0.join("program"), folder.0.join("layer"));
    std::fs::write(&program, "12345").unwrap();
    layer_of(&program, &[], &layer).unwrap();
    let mut tar = Command::new("tar");
    let listed = said(tar.args(["--list", "--verbose", "--numeric-owner", "--utc", "--file"]).arg(&layer));
    let lines: Vec<String> = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "drwxr-xr-x 0/0 0 1970-01-01 00:00 etc/",
            "-rw-r--r-- 0/0 27 1970-01-01 00:00 etc/group",
            "-rw-r--r-- 0/0 54 1970-01-01 00:00 etc/passwd",
            "-rwxr-xr-x 0/0 5 1970-01-01 00:00 minimesh",
            "lrwxrwxrwx 0/0 0 1970-01-01 00:00 minimesh-control-plane -> minimesh",
            "lrwxrwxrwx 0/0 0 1970-01-01 00:00 minimesh-injector -> minimesh",
            "lrwxrwxrwx 0/0 0 1970-01-01 00:00 minimesh-proxy -> minimesh",
            "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/",
        ]
    );
}

#[test]
fn a_program_runs_with_nothing_but_its_layer_or_there_is_no_image() {
    let architecture = Architecture::host().unwrap();
    if let Err(why) = host::namespaces().and_then(|()| program::has_libc(architecture)) {
        return println!("\nskipped: a_program_runs_with_nothing_but_its_layer_or_there_is_no_image: {why}");
    }
    let folder = Folder::new("image-trial");
    let layer = folder.0.join("layer");
    let program = folder.program("minimesh 1.2.3");
    assert_eq!(program::libraries(&program, architecture), Ok(Vec::new()));
    layer_of(&program, &[], &layer).unwrap();
    let packed = Packed { program: &program, architecture, layer: &layer };
    assert_eq!(trial::run(&packed, "1.2.3", &folder.0), Ok("tried: it is minimesh 1.2.3".to_owned()));
    let other = trial::run(&packed, "1.2.4", &folder.0).unwrap_err();
    assert!(other.ends_with("(exit status: 0): minimesh 1.2.3"), "{other}");

    // this test itself is loaded, and its libraries are not in the layer
    let own = std::env::current_exe().unwrap();
    assert!(!program::libraries(&own, architecture).unwrap().is_empty());
    layer_of(&own, &[], &layer).unwrap();
    let packed = Packed { program: &own, architecture, layer: &layer };
    assert!(trial::run(&packed, "1.2.3", &folder.0).unwrap_err().starts_with("with the image's files alone"));
    let left = std::fs::read_dir(&folder.0).unwrap().flatten().map(|entry| entry.file_name());
    let left: BTreeSet<String> = left.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(left, BTreeSet::from(["layer", "program", "program.rs"].map(str::to_owned)));
}

/// Read as an importer does: from the names that it knows to the parts, each of which has its digest as its name.
#[test]
fn the_parts_of_an_image_are_found_by_both_of_its_tables() {
    let folder = Folder::new("image-parts");
    let (layer, out) = (folder.0.join("layer"), folder.0.join("image.tar"));
    std::fs::write(&layer, [7; 1536]).unwrap();
    let names = ["minimesh:1".to_owned(), "registry:5000/a/b:2".to_owned()];
    let image = Image {
        names: &names,
        architecture: "arm64",
        entrypoint: &["/minimesh"],
        environment: &["PATH=/"],
        labels: &[("org.opencontainers.image.title", "minimesh")],
        user: USER,
    };
    oci::write(&image, &layer, &out).unwrap();
    said(Command::new("tar").arg("--extract").arg("--file").arg(&out).arg("--directory").arg(&folder.0));
    let json = |path: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.0.join(path)).unwrap()).unwrap() };
    // what a descriptor names is there, of that size, and hashed by somebody else it has that digest
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        let path = format!("blobs/sha256/{digest}");
        let sum = said(Command::new("sha256sum").arg(folder.0.join(&path)));
        assert_eq!(sum.split_whitespace().next(), Some(&*digest));
        assert_eq!(std::fs::metadata(folder.0.join(&path)).unwrap().len(), descriptor["size"].as_u64().unwrap());
        path
    };

    assert_eq!(json("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }));
    let index = json("index.json");
    let entry = &index["manifests"][0];
    let named = |full: &str, tag: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": entry["digest"],
            "size": entry["size"],
            "platform": { "architecture": "arm64", "os": "linux" },
            "annotations": { "io.containerd.image.name": full, "org.opencontainers.image.ref.name": tag },
        })
    };
    let expected = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [named("docker.io/library/minimesh:1", "1"), named("registry:5000/a/b:2", "2")],
    });
    assert_eq!(index, expected);
    let manifest = json(&blob(entry));
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    let (config, layer) = (blob(&manifest["config"]), blob(&manifest["layers"][0]));
    assert_eq!(json("manifest.json"), json!([{ "Config": config, "RepoTags": names, "Layers": [layer] }]));
    let expected = json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "arm64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/minimesh"],
            "Env": ["PATH=/"],
            "Labels": { "org.opencontainers.image.title": "minimesh" },
            "User": "2102:2102",
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [manifest["layers"][0]["digest"]] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask" }],
    });
    assert_eq!(json(&config), expected);
}

#[test]
fn docker_makes_the_same_of_its_own_file() {
    let file = include_str!("../../../../Dockerfile");
    for text in [PASSWD, GROUP] {
        assert!(file.contains(&format!("printf '{}'", text.replace('\n', "\\n"))), "{text}");
    }
    let lines: Vec<&str> = file.lines().collect();
    for line in ["FROM scratch", "ENV PATH=/", &format!("USER {USER}"), "ENTRYPOINT [\"/minimesh\"]"] {
        assert!(lines.contains(&line), "{line}");
    }
    assert!(file.contains(&format!("for part in {}; do", PARTS.join(" "))));
    assert!(file.contains(&format!("--profile {SHIPPED} --bin minimesh")));
}

#[test]
fn a_place_that_cannot_be_written_to_is_found_at_once_and_drafts_are_not_left() {
    let folder = Folder::new("image-draft");
    let error = |path: &Path| Draft::at(path).err().unwrap();
    assert_eq!(error(&folder.0), format!("{} is not the name of a file", folder.0.display()));
    std::fs::write(folder.0.join("file"), "").unwrap();
    assert!(error(&folder.0.join("file/image.tar")).contains("file: "));
    let draft = Draft::at(&folder.0.join("new/image.tar")).unwrap();
    std::fs::write(&draft.layer, "").unwrap();
    drop(draft);
    assert_eq!(std::fs::read_dir(folder.0.join("new")).unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_an_error() {
    let own = std::env::current_exe().unwrap();
    let full = Path::new("/dev/full");
    assert_eq!(layer_of(&own, &[], full).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}
