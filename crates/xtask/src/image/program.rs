//! The static program of an image: which compilers make it, and what it may need when it runs: nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::elf::Elf;
use crate::workspace::{self, Workspace};

/// A processor that images are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    const ALL: [Architecture; 2] = [Architecture::Amd64, Architecture::Arm64];

    pub(crate) fn from_name(name: &str) -> Option<Architecture> {
        Architecture::ALL.into_iter().find(|one| one.name() == name)
    }

    /// This machine's.
    pub(crate) fn host() -> Option<Architecture> {
        Architecture::ALL.into_iter().find(|one| one.processor() == std::env::consts::ARCH)
    }

    /// As the OCI calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// As Rust and compilers call it.
    pub(crate) fn processor(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64",
            Architecture::Arm64 => "aarch64",
        }
    }

    /// As the head of a program numbers it.
    fn machine(self) -> u16 {
        match self {
            Architecture::Amd64 => 62,
            Architecture::Arm64 => 183,
        }
    }

    fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.processor())
    }

    /// Debian's cross compiler, where one is needed.
    fn cross_compiler(self) -> Option<String> {
        (Architecture::host() != Some(self)).then(|| format!("{}-linux-gnu-gcc", self.processor()))
    }
}

/// Builds the program in that profile, now; says where it is.
pub(crate) fn build(workspace: &Workspace, architecture: Architecture, profile: &str) -> Result<PathBuf, String> {
    let target = architecture.target();
    has_libc(architecture)?;
    let build = ["build", "--locked", "--bin", "minimesh", "--target", &target, "--profile", profile];
    let mut build = workspace.cargo(&build);
    if let Some(rustc) = rustc(architecture)? {
        build.env("RUSTC", rustc);
    }
    if let Some(compiler) = architecture.cross_compiler() {
        let linker = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        build.env(linker, &compiler).env(format!("CC_{}", target.replace('-', "_")), &compiler);
    }
    build.env("CARGO_ENCODED_RUSTFLAGS", flags(workspace).join("\u{1f}"));
    workspace::passes(&mut build)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let program = workspace.target.join(target).join(folder).join("minimesh");
    let elf = read(&program, architecture)?;
    if elf.loaded { Err(format!("{} is not static", program.display())) } else { Ok(program) }
}

fn flags(workspace: &Workspace) -> Vec<String> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cargo"))
    });
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Cstrip=symbols".to_owned()];
    // where it was built is nobody's business, and must not change its bytes; the last that fits counts
    let places =
        [(cargo_home.as_ref(), "/cargo"), (Some(&workspace.root), "/minimesh"), (Some(&workspace.target), "/target")];
    let hidden =
        |(place, name): (Option<&PathBuf>, &str)| Some(format!("--remap-path-prefix={}={name}", place?.display()));
    flags.extend(places.into_iter().filter_map(hidden));
    flags
}

/// What the program is linked with, looked for before minutes of compilation.
pub(super) fn has_libc(architecture: Architecture) -> Result<(), String> {
    let cross = architecture.cross_compiler();
    let compiler = cross.as_deref().unwrap_or("cc");
    let packages = match architecture.cross_compiler() {
        None => "gcc libc6-dev (elsewhere the static C library is a package of its own, as glibc-static)".to_owned(),
        Some(_) => {
            let name = architecture.name();
            format!("gcc-{}-linux-gnu libc6-dev-{name}-cross", architecture.processor().replace('_', "-"))
        }
    };
    let output = Command::new(compiler).arg("-print-file-name=libc.a").output();
    let output = output.map_err(|error| format!("{compiler}: {error}; on Debian: apt-get install {packages}"))?;
    // a file that it does not have it calls by its bare name
    if String::from_utf8_lossy(&output.stdout).contains('/') {
        Ok(())
    } else {
        Err(format!("{compiler} has no libc.a to link a static program with; on Debian: apt-get install {packages}"))
    }
}

/// A compiler that has the standard library for it: the one that cargo takes anyway (none), or the distribution's.
fn rustc(architecture: Architecture) -> Result<Option<&'static str>, String> {
    let target = architecture.target();
    let usual = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if has_std(Path::new(&usual), &target) {
        Ok(None)
    } else if has_std(Path::new(DISTRIBUTION), &target) {
        Ok(Some(DISTRIBUTION))
    } else {
        let name = architecture.name();
        Err(format!(
            "{} has no standard library for {target}: `rustup target add {target}`; or Debian's, beside rustup's: dpkg \
             --add-architecture {name} && apt-get update && apt-get install rustc-web libstd-rust-web-dev:{name}",
            usual.display()
        ))
    }
}

fn has_std(rustc: &Path, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let Ok(output) = output else { return false };
    let said = String::from_utf8_lossy(&output.stdout);
    let Ok(entries) = std::fs::read_dir(said.trim()) else { return false };
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    entries.flatten().any(name)
}

/// What it is, if that processor runs it.
fn read(program: &Path, architecture: Architecture) -> Result<Elf, String> {
    let elf = Elf::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    if elf.machine == architecture.machine() {
        Ok(elf)
    } else {
        Err(format!("{} is not made for {}", program.display(), architecture.name()))
    }
}

/// What a program that was built already loads when it starts: nothing, where it is static.
pub(crate) fn libraries(program: &Path, architecture: Architecture) -> Result<Vec<PathBuf>, String> {
    if !read(program, architecture)?.loaded {
        return Ok(Vec::new());
    }
    let output = Command::new("ldd").arg(program).output().map_err(|error| format!("ldd: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || said.contains("not found") {
        return Err(format!("ldd {}: {said}{}", program.display(), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(paths(&said))
}

/// `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` of the loader; the kernel's own has no path.
fn paths(said: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    said.lines().filter_map(path).collect()
}

/// Where a distribution's own compiler is, which may have what that of rustup lacks.
const DISTRIBUTION: &str = "/usr/bin/rustc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(paths(said), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
    }

    #[test]
    fn a_program_of_another_processor_is_refused() {
        let own = std::env::current_exe().unwrap();
        let host = Architecture::host().unwrap();
        let other = Architecture::ALL.into_iter().find(|one| *one != host).unwrap();
        assert!(read(&own, host).is_ok());
        assert!(libraries(&own, other).unwrap_err().ends_with(&format!("is not made for {}", other.name())));
    }

    #[test]
    fn a_compiler_without_the_target_is_not_taken() {
        assert!(has_std(Path::new("rustc"), &Architecture::host().unwrap().target()));
        assert!(!has_std(Path::new("rustc"), "no-such-target"));
        assert!(!has_std(Path::new("/there/is/no/rustc"), "x86_64-unknown-linux-gnu"));
    }
}
