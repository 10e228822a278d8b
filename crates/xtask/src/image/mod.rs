//! `cargo xtask image`: one image that holds every part of the mesh, made without Docker. A static program on an empty base.
//!
//! ```text
//! debian    images of Debian's programs, for tests
//! elf       what the head of a program says
//! oci       the image around a layer
//! program   compiles the program
//! sha256    names parts
//! tar       archives
//! trial     runs the program with nothing but the layer's files
//! ```

pub(crate) mod debian;
mod elf;
pub(crate) mod oci;
pub(crate) mod program;
mod sha256;
pub(crate) mod tar;
mod trial;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::workspace::Workspace;
use oci::Image;
use program::Architecture;
use tar::Archive;
use trial::Packed;

/// What to make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// This machine's, unless said otherwise.
    pub(crate) architecture: Option<Architecture>,
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
        let profile = SHIPPED.to_owned();
        Wanted { architecture: None, profile, program: None, names: Vec::new(), out: None }
    }
}

impl Wanted {
    /// Of the arguments that [`USAGE`] lists.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        let mut rest = arguments.iter();
        while let Some(&option) = rest.next() {
            let mut value = || rest.next().copied().ok_or_else(|| format!("image: {option} needs a value\n{USAGE}"));
            match option {
                "--arch" => {
                    let name = value()?;
                    let known = Architecture::from_name(name);
                    wanted.architecture = Some(known.ok_or_else(|| format!("image: {name:?} is not amd64 or arm64"))?);
                }
                "--name" => wanted.names.push(oci::checked(value()?)?),
                "--output" => wanted.out = Some(PathBuf::from(value()?)),
                "--profile" => wanted.profile = value()?.to_owned(),
                "--program" => wanted.program = Some(PathBuf::from(value()?)),
                other => return Err(format!("image: no option {other:?}\n{USAGE}")),
            }
        }
        Ok(wanted)
    }
}

/// Builds the program and packs it; gives the image's path.
pub(crate) fn make(workspace: &Workspace, wanted: Wanted) -> Result<PathBuf, String> {
    let known = wanted.architecture.or_else(Architecture::host);
    let architecture = known.ok_or_else(|| format!("no image for {}: --arch says which", std::env::consts::ARCH))?;
    let version = workspace.version("minimesh-cli")?;
    let names = match wanted.names {
        names if names.is_empty() => vec![format!("minimesh:{version}")],
        names => names,
    };
    let own = || workspace.target.join(format!("image/minimesh-{version}-{}.tar", architecture.name()));
    let out = wanted.out.unwrap_or_else(own);
    // a place that cannot be written to is found before the program is compiled, not after
    let draft = Draft::at(&out)?;
    let (program, libraries) = match &wanted.program {
        None => (program::build(workspace, architecture, &wanted.profile)?, Vec::new()),
        Some(program) => (program.clone(), program::libraries(program, architecture)?),
    };
    let labels = [
        ("org.opencontainers.image.description", "A small service mesh: every part of it in one static program"),
        ("org.opencontainers.image.licenses", "Apache-2.0"),
        ("org.opencontainers.image.title", "minimesh"),
        ("org.opencontainers.image.version", version),
    ];
    let image = Image {
        names: &names,
        architecture: architecture.name(),
        entrypoint: &["/minimesh"],
        // the program is found by its name, too
        environment: &["PATH=/"],
        labels: &labels,
        user: USER,
    };
    let error = |error: std::io::Error| format!("{}: {error}", out.display());
    layer_of(&program, &libraries, &draft.layer).map_err(error)?;
    let packed = Packed { program: &program, architecture, layer: &draft.layer };
    let tried = trial::run(&packed, version, &workspace.target.join("image"))?;
    oci::write(&image, &draft.layer, &draft.image).map_err(error)?;
    let size = std::fs::metadata(&draft.image).map_err(error)?.len();
    if size > LIMIT && wanted.program.is_none() {
        return Err(format!("the image has {size} bytes, over {LIMIT}"));
    }
    std::fs::rename(&draft.image, &out).map_err(error)?;
    println!("{}: {}, {:.1} MB; {tried}", out.display(), names.join(", "), size as f64 / 1e6);
    Ok(out)
}

/// Files beside the one that is made. They are gone afterwards, whatever happened.
struct Draft {
    image: PathBuf,
    layer: PathBuf,
}

impl Draft {
    fn at(out: &Path) -> Result<Draft, String> {
        let name = out.file_name().filter(|_| !out.is_dir());
        let name = name.ok_or_else(|| format!("{} is not the name of a file", out.display()))?.to_string_lossy();
        let beside = |kind: &str| out.with_file_name(format!("{name}.{kind}-{}", std::process::id()));
        let draft = Draft { image: beside("draft"), layer: beside("layer") };
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        File::create(&draft.image).map_err(|error| format!("{}: {error}", out.display()))?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // the image has its name by now, or was not made
        let _ = std::fs::remove_file(&self.image);
        let _ = std::fs::remove_file(&self.layer);
    }
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
    archive.bytes("etc/group", 0o644, GROUP.as_bytes())?;
    archive.bytes("etc/passwd", 0o644, PASSWD.as_bytes())?;
    let opened = File::open(program)?;
    let size = opened.metadata()?.len();
    archive.file("minimesh", 0o755, size, opened)?;
    for part in PARTS {
        archive.link(&format!("minimesh-{part}"), "minimesh")?;
    }
    archive.folder("tmp", 0o1777)?;
    archive.finish().map(drop)
}

/// How it is called.
pub(crate) const USAGE: &str = "\
usage: cargo xtask image [--arch amd64|arm64] [--profile NAME] [--program FILE] [--name NAME:TAG]… [--output FILE]

  --arch amd64|arm64   the processor; this machine's, unless said otherwise (docs/image.md says what the other one needs)
  --profile NAME       how it is compiled: shipped, unless said otherwise; release takes less time to build
  --program FILE       pack a program that is there already, with the libraries that it loads; for a quick try
  --name NAME:TAG      what the image is called, as often as you like; minimesh:VERSION, unless said otherwise
  --output FILE        where the tar goes; image/minimesh-VERSION-ARCH.tar of the target folder, unless said otherwise";

/// The profile of what is given to people.
pub(crate) const SHIPPED: &str = "shipped";
/// Parts that are started through a link, too.
const PARTS: [&str; 3] = ["control-plane", "injector", "proxy"];
/// That of the proxy, which the redirection knows by it.
const USER: &str = "2102:2102";
const GROUP: &str = "root:x:0:\nminimesh:x:2102:\n";
const PASSWD: &str = "root:x:0:0:root:/:/\nminimesh:x:2102:2102:minimesh:/:/\n";
const LIMIT: u64 = 25_000_000;

#[cfg(test)]
mod tests;
