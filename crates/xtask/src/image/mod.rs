//! `cargo xtask image`: one image that holds every part of the mesh, made without Docker. A static program on an empty base.

pub(crate) mod debian;
pub(crate) mod oci;
mod sha256;
pub(crate) mod tar;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{self, Workspace};
use oci::Image;
use tar::Archive;

/// A processor that images are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    pub(crate) fn from_name(name: &str) -> Option<Architecture> {
        [Architecture::Amd64, Architecture::Arm64].into_iter().find(|one| one.name() == name)
    }

    /// As the OCI calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// As Rust calls it.
    fn target(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64-unknown-linux-gnu",
            Architecture::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// What to make.
pub(crate) struct Wanted {
    pub(crate) architecture: Architecture,
    /// Cargo's: `shipped`, or `release` where the time to build counts.
    pub(crate) profile: String,
    /// A program that was built already, packed with the libraries that it loads; for a quick try.
    pub(crate) program: Option<PathBuf>,
    /// `NAME:TAG`; the program's own if empty.
    pub(crate) names: Vec<String>,
    pub(crate) out: Option<PathBuf>,
}

impl Default for Wanted {
    fn default() -> Wanted {
        let profile = "shipped".to_owned();
        Wanted { architecture: Architecture::Amd64, profile, program: None, names: Vec::new(), out: None }
    }
}

impl Wanted {
    /// `[--arch amd64|arm64] [--profile PROFILE | --program FILE] [--name NAME:TAG]… [--output FILE]`.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let value = *rest.next().ok_or_else(|| format!("{option} needs a value"))?;
            match *option {
                "--arch" => {
                    wanted.architecture =
                        Architecture::from_name(value).ok_or_else(|| format!("no architecture {value:?}"))?
                }
                "--program" => wanted.program = Some(PathBuf::from(value)),
                "--profile" => wanted.profile = value.to_owned(),
                "--name" => wanted.names.push(value.to_owned()),
                "--output" => wanted.out = Some(PathBuf::from(value)),
                other => return Err(format!("image: no option {other:?}")),
            }
        }
        Ok(wanted)
    }
}

/// Builds the program and packs it; gives the image's path.
pub(crate) fn make(workspace: &Workspace, wanted: Wanted) -> Result<PathBuf, String> {
    let (program, libraries) = match &wanted.program {
        None => (program(workspace, wanted.architecture, &wanted.profile)?, Vec::new()),
        Some(program) => (program.clone(), libraries(program)?),
    };
    let version = workspace.version("minimesh-cli")?;
    let names = match wanted.names {
        names if names.is_empty() => vec![format!("minimesh:{version}")],
        names => names,
    };
    let architecture = wanted.architecture.name();
    let own = || workspace.target.join(format!("image/minimesh-{version}-{architecture}.tar"));
    let out = wanted.out.unwrap_or_else(own);
    let image = Image {
        names: &names,
        architecture,
        entrypoint: &["/minimesh"],
        // the program is found by its name, too
        environment: &["PATH=/"],
        user: USER,
    };
    let error = |error: std::io::Error| format!("{}: {error}", out.display());
    std::fs::create_dir_all(out.parent().unwrap_or(Path::new("."))).map_err(error)?;
    let layer = out.with_extension("layer");
    let size = layer_of(&program, &libraries, &layer).and_then(|()| {
        oci::write(&image, &layer, &out)?;
        std::fs::remove_file(&layer)?;
        Ok(std::fs::metadata(&out)?.len())
    });
    let size = size.map_err(error)?;
    println!("{}: {names:?}, {:.1} MB", out.display(), size as f64 / 1e6);
    if size > LIMIT && wanted.program.is_none() {
        Err(format!("the image has {size} bytes, over {LIMIT}"))
    } else {
        Ok(out)
    }
}

/// The static program of that profile, built now.
pub(crate) fn program(workspace: &Workspace, architecture: Architecture, profile: &str) -> Result<PathBuf, String> {
    let target = architecture.target();
    let mut build = workspace.cargo(&["build", "--bin", "minimesh", "--target", target, "--profile", profile]);
    if architecture == Architecture::Arm64 {
        arm64(&mut build)?;
    }
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cargo"))
    });
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Cstrip=symbols".to_owned()];
    // where it was built is nobody's business, and must not change its bytes
    flags.push(format!("--remap-path-prefix={}=/minimesh", workspace.root.display()));
    flags.extend(cargo_home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    workspace::passes(&mut build)?;
    Ok(place(workspace, architecture, profile))
}

fn place(workspace: &Workspace, architecture: Architecture, profile: &str) -> PathBuf {
    workspace.target.join(architecture.target()).join(profile).join("minimesh")
}

/// Debian's cross compiler, and a Rust toolchain with the standard library for that target in the variables by which the user
/// names one: rustup's own has it after `rustup target add`.
fn arm64(build: &mut Command) -> Result<(), String> {
    let linker = "aarch64-linux-gnu-gcc";
    if Command::new(linker).arg("--version").output().is_err() {
        return Err(format!("{linker} is not installed: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"));
    }
    build.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker).env("CC_aarch64_unknown_linux_gnu", linker);
    Ok(())
}

/// What a program loads when it starts.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output().map_err(|error| format!("ldd: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    // `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` of the loader; the kernel's own has no path
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(said.lines().filter_map(path).collect())
}

/// The program, the names of its parts, and what a process expects of its machine.
fn layer_of(program: &Path, libraries: &[PathBuf], layer: &Path) -> std::io::Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(layer)?));
    for library in libraries {
        let opened = File::open(library)?;
        let place = library.to_string_lossy();
        archive.file(place.trim_start_matches('/'), 0o755, opened.metadata()?.len(), opened)?;
    }
    archive.folder("etc", 0o755)?;
    archive.bytes("etc/group", 0o644, b"root:x:0:\nminimesh:x:2102:\n")?;
    archive.bytes("etc/passwd", 0o644, b"root:x:0:0:root:/:/\nminimesh:x:2102:2102:minimesh:/:/\n")?;
    let opened = File::open(program)?;
    let size = opened.metadata()?.len();
    archive.file("minimesh", 0o755, size, opened)?;
    for part in PARTS {
        archive.link(&format!("minimesh-{part}"), "minimesh")?;
    }
    archive.folder("tmp", 0o1777)?;
    archive.finish().map(drop)
}

/// Parts that are started through a link, too.
const PARTS: [&str; 3] = ["control-plane", "injector", "proxy"];
/// That of the proxy, which the redirection knows by it.
const USER: &str = "2102:2102";
const LIMIT: u64 = 25_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let wanted = Wanted::parse(&["--arch", "arm64", "--name", "a:1", "--name", "b:2"]).unwrap();
        assert_eq!((wanted.architecture, wanted.names.len(), &*wanted.profile), (Architecture::Arm64, 2, "shipped"));
        assert!(Wanted::parse(&["--arch", "riscv"]).is_err());
        assert!(Wanted::parse(&["--name"]).is_err());
    }
}
