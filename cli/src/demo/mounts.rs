//! What the file system looks like from inside: the host's, with a `/proc` of the demo's own and with each pod's own
//! `resolv.conf`, `hosts`, `hostname` and `nsswitch.conf` in `/etc`.
//!
//! Called by the node once and by each pod once, each in its own mount namespace. Nothing is ever mounted or written where the
//! host could see it.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};

use super::network::NODE;

/// Makes the node's view. `scratch` is an empty folder of the run.
pub(crate) fn prepare_node(scratch: &Path) -> io::Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    // refused where the host's /proc is partly covered, as in some containers; the old one still knows /proc/self
    let _ =
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, NONE);
    // a bind mount needs something to be mounted on
    if REPLACED.iter().any(|name| !Path::new("/etc").join(name).is_file()) {
        rebuild_etc(scratch)?;
    }
    Ok(())
}

/// Makes a pod's view; `folder` takes the files.
pub(crate) fn prepare_pod(folder: &Path, namespace: &str, name: &str, ip: Ipv4Addr) -> io::Result<()> {
    let search = format!("{namespace}.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}");
    let files = [
        ("hostname", format!("{name}\n")),
        ("hosts", format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{ip}\t{name}\n")),
        // the host may ask a resolver over a Unix socket, which no network namespace holds back
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".into()),
        ("resolv.conf", format!("nameserver {NODE}\nsearch {search}\noptions ndots:5\n")),
    ];
    for (file, text) in files {
        let own = folder.join(file);
        fs::write(&own, text)?;
        bind(&own, &Path::new("/etc").join(file))?;
    }
    Ok(())
}

/// The domain of Service names.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";

/// An `/etc` that shows what the host's shows, on a file system of our own where files can be added.
fn rebuild_etc(scratch: &Path) -> io::Result<()> {
    mount(Some("tmpfs"), scratch, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755,size=1m"))?;
    for entry in fs::read_dir("/etc")?.flatten() {
        let (from, to) = (entry.path(), scratch.join(entry.file_name()));
        let kind = entry.file_type()?;
        if REPLACED.iter().any(|name| entry.file_name() == *name) {
            continue;
        } else if kind.is_symlink() {
            // relative links stay right: the new /etc is in the old one's place
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            continue;
        } else if kind.is_dir() {
            fs::create_dir(&to)?;
        } else {
            fs::write(&to, "")?;
        }
        bind(&from, &to)?;
    }
    for name in REPLACED {
        fs::write(scratch.join(name), "")?;
    }
    bind(scratch, Path::new("/etc"))
}

/// Recursive, since a user namespace may not uncover what an inherited mount covers.
fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let failed = |error: nix::Error| {
        let text = format!("cannot show {} as {}: {}", from.display(), to.display(), error.desc());
        io::Error::new(io::Error::from(error).kind(), text)
    };
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(failed)
}

const NONE: Option<&PathBuf> = None;
const REPLACED: [&str; 4] = ["hostname", "hosts", "nsswitch.conf", "resolv.conf"];
