//! Images of programs that Debian packages, for tests: the files of installed packages and of all that they depend on, as they
//! lie on this machine. Nothing is downloaded; no script of a package runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::oci::{self, Image};
use super::tar::Archive;
use crate::cache;

/// Installed packages: what each is called, provides and needs.
pub(crate) struct Installed {
    packages: BTreeMap<String, Package>,
    /// Names to the package that stands for them.
    providers: HashMap<String, String>,
}

struct Package {
    version: String,
    /// Each a list of alternatives.
    needs: Vec<Vec<String>>,
}

impl Installed {
    pub(crate) fn load() -> Result<Installed, String> {
        let format = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Pre-Depends}, ${Depends}\t${Provides}\n";
        let output = Command::new("dpkg-query").args(["--show", "--showformat", format]).output();
        let output = output.map_err(|error| format!("dpkg-query: {error}"))?;
        Ok(Installed::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(text: &str) -> Installed {
        let mut installed = Installed { packages: BTreeMap::new(), providers: HashMap::new() };
        for line in text.lines() {
            let [status, name, version, needs, provides] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
            if !status.starts_with("ii") {
                continue;
            }
            for provided in names(provides) {
                installed.providers.insert(provided, name.to_owned());
            }
            let alternatives = |group: &str| group.split('|').flat_map(names).collect::<Vec<_>>();
            let needs = needs.split(',').map(alternatives).filter(|group| !group.is_empty()).collect();
            installed.packages.insert(name.to_owned(), Package { version: version.to_owned(), needs });
        }
        installed
    }

    /// The packages and everything that they need, by name.
    fn closure(&self, packages: &[&str]) -> Result<BTreeSet<&str>, String> {
        let (mut found, mut open) = (BTreeSet::new(), Vec::new());
        for name in packages {
            open.push(self.packages.get_key_value(*name).ok_or_else(|| format!("{name} is not installed"))?);
        }
        while let Some((name, package)) = open.pop() {
            if !found.insert(&**name) {
                continue;
            }
            for group in &package.needs {
                let stand_in = |name: &String| self.packages.get_key_value(self.providers.get(name)?);
                let there = group.iter().find_map(|name| self.packages.get_key_value(name).or_else(|| stand_in(name)));
                open.extend(there);
            }
        }
        Ok(found)
    }

    /// The image of some packages, in the cache under a key of their versions.
    pub(crate) fn image(&self, name: &str, packages: &[&str]) -> Result<PathBuf, String> {
        let closure = self.closure(packages)?;
        let versions: Vec<&str> = closure.iter().map(|name| &*self.packages[*name].version).collect();
        let key = cache::key_of_text(&format!("{name} {closure:?} {versions:?} {FORMAT}"));
        let folder = cache::folder("minimesh-cluster").join(format!("image-{key:016x}"));
        let made = cache::made(folder, |draft| {
            let files = files(&closure)?;
            let (layer, out) = (draft.join("layer"), draft.join("image.tar"));
            let written = write(&files, &layer).and_then(|()| {
                let names = [name.to_owned()];
                let environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
                let entrypoint = ["/bin/sh"];
                let (architecture, user) = ("amd64", "0:0");
                let image = Image {
                    names: &names,
                    architecture,
                    entrypoint: &entrypoint,
                    environment: &environment,
                    labels: &[],
                    user,
                };
                oci::write(&image, &layer, &out)?;
                std::fs::remove_file(&layer)
            });
            written.map_err(|error| format!("{name}: {error}"))
        })?;
        Ok(made.join("image.tar"))
    }
}

/// `a (>= 1), b:any` as `a`, `b`.
fn names(list: &str) -> Vec<String> {
    let name = |part: &str| part.split_whitespace().next()?.split(':').next().map(str::to_owned);
    list.split(',').filter_map(name).collect()
}

/// Paths on this machine by their place in the image.
fn files(packages: &BTreeSet<&str>) -> Result<BTreeMap<String, PathBuf>, String> {
    let output = Command::new("dpkg-query").arg("--listfiles").args(packages).output();
    let output = output.map_err(|error| format!("dpkg-query: {error}"))?;
    let mut files = BTreeMap::new();
    let listed = String::from_utf8_lossy(&output.stdout);
    for path in listed.lines().filter(|line| line.starts_with('/')).chain(CHOSEN) {
        if UNUSED.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let place = merged(path);
        for (at, _) in place.match_indices('/') {
            files.entry(place[..at].to_owned()).or_insert_with(|| Path::new("/").join(&place[..at]));
        }
        if !place.is_empty() {
            files.insert(place, PathBuf::from(path));
        }
    }
    MERGED.iter().for_each(|name| drop(files.remove(*name)));
    Ok(files)
}

/// Packages name files in `/lib`, which is a link to `usr/lib`.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/').trim_end_matches(['/', '.']);
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) && path != first { format!("usr/{path}") } else { path.to_owned() }
}

fn write(files: &BTreeMap<String, PathBuf>, layer: &Path) -> io::Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(layer)?));
    for name in MERGED {
        archive.link(name, &format!("usr/{name}"))?;
    }
    for (place, path) in files {
        // a file that somebody removed is not there in the image either
        let Ok(about) = std::fs::symlink_metadata(path) else { continue };
        let mode = about.permissions().mode() & 0o1777;
        if about.is_symlink() {
            archive.link(place, &std::fs::read_link(path)?.to_string_lossy())?;
        } else if about.is_dir() {
            archive.folder(place, mode)?;
        } else if about.is_file() && !OWN.iter().any(|(own, _)| own == place) {
            archive.file(place, mode, about.len(), File::open(path)?)?;
        }
    }
    for (place, text) in OWN {
        archive.bytes(place, 0o644, text.as_bytes())?;
    }
    for folder in ["proc", "sys", "dev", "run"] {
        archive.folder(folder, 0o755)?;
    }
    archive.folder("tmp", 0o1777)?;
    archive.finish().map(drop)
}

/// Of every Debian since 12.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// Links that packages' scripts make.
const CHOSEN: [&str; 2] = ["/usr/bin/awk", "/etc/alternatives/awk"];
/// What no server reads.
const UNUSED: [&str; 7] = [
    "/usr/share/bash-completion",
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/lib/systemd",
];
/// This machine's users are not the image's.
const OWN: [(&str, &str); 3] = [
    ("etc/group", "root:x:0:\nserver:x:999:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("etc/passwd", "root:x:0:0:root:/:/bin/sh\nserver:x:999:999:server:/tmp:/bin/sh\n"),
];
/// Changes when the same packages make another image.
const FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "ii \tserver\t1\tlibc (>= 2), shell | other\tdaemon\n\
        ii \tlibc\t2\t, \t\n\
        ii \tdash\t3\tlibc:any\tshell (= 1)\n\
        rc \tremoved\t1\t, \t\n\
        ii \tunused\t1\t, \t\n";

    #[test]
    fn what_a_package_needs_comes_along_and_nothing_else() {
        let installed = Installed::parse(LIST);
        assert_eq!(installed.closure(&["server"]).unwrap(), BTreeSet::from(["dash", "libc", "server"]));
        assert!(installed.closure(&["removed"]).is_err());
    }

    #[test]
    fn files_of_linked_folders_are_where_the_links_lead() {
        assert_eq!(merged("/lib/x/y.so"), "usr/lib/x/y.so");
        assert_eq!(merged("/lib"), "lib");
        assert_eq!(merged("/."), "");
        assert_eq!(merged("/etc/a"), "etc/a");
    }
}
