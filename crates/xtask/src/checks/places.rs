//! Nothing of the machine on which it was written is in the repository.

use super::File;
use crate::workspace::Workspace;

/// Beginnings of paths that exist on someone's machine only; in pieces, so that this file passes.
const MACHINE: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn check(workspace: &Workspace, files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    let root = format!("{}/", workspace.root.display());
    for file in files {
        let shown = workspace.relative(&file.path);
        for (number, line) in file.text.lines().enumerate() {
            let found = MACHINE.iter().copied().chain([&*root]).find(|path| begins_path(line, path));
            if let Some(path) = found {
                complaints.push(format!("{shown}:{}: a path of one machine: {path}", number + 1));
            }
            let source = line.strip_prefix("source = ").filter(|_| file.path.ends_with("Cargo.lock"));
            if let Some(source) = source.filter(|source| source.trim_matches('"') != REGISTRY) {
                complaints.push(format!("{shown}:{}: a dependency from elsewhere: {source}", number + 1));
            }
        }
    }
    complaints
}

/// `path` at the start of a path, not in the middle of one (`/app/work/` is someone's container, not ours).
fn begins_path(line: &str, path: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '}' | '$' | '~');
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_path_counts() {
        let path = MACHINE[0];
        assert!(begins_path(&format!("open(\"{path}x\")"), path));
        assert!(!begins_path(&format!("open(\"app{path}x\")"), path));
    }
}
