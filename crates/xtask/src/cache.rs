//! What is made from sources once and kept outside of the checkout, under a key of its sources' contents. Complete, or not there.

use std::path::{Path, PathBuf};

/// `name` under the user's cache folder.
pub(crate) fn folder(name: &str) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join(name)
}

/// `folder`, made now if it is not there: beside its place, and moved there whole.
pub(crate) fn made(folder: PathBuf, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    if folder.is_dir() {
        return Ok(folder);
    }
    let draft = folder.with_extension(format!("draft-{}", std::process::id()));
    // of a process of that number that was ended in the middle
    let _ = std::fs::remove_dir_all(&draft);
    std::fs::create_dir_all(&draft).map_err(|error| format!("{}: {error}", draft.display()))?;
    let moved = make(&draft).and_then(|()| match std::fs::rename(&draft, &folder) {
        // somebody else was faster
        Err(error) if !folder.is_dir() => Err(format!("{}: {error}", folder.display())),
        _ => Ok(folder),
    });
    // gone if it was moved; half made otherwise
    let _ = std::fs::remove_dir_all(&draft);
    moved
}

/// Of every file below `source` (or of the one that it is), by name and content, and of the version of what makes something of it.
pub(crate) fn key(source: &Path, version: &[u8]) -> std::io::Result<u64> {
    let mut files = Vec::new();
    let mut paths = vec![source.to_owned()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                paths.push(entry?.path());
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
    let mut key = fnv(FNV_START, version);
    for file in files {
        key = fnv(key, file.strip_prefix(source).unwrap_or(&file).as_os_str().as_encoded_bytes());
        key = fnv(fnv(key, &[0]), &std::fs::read(&file)?);
    }
    Ok(key)
}

/// Of some words.
pub(crate) fn key_of_text(text: &str) -> u64 {
    fnv(FNV_START, text.as_bytes())
}

/// FNV-1a: the same in every version of this tool, which the standard library's hasher does not promise.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_fnv_1a() {
        assert_eq!(fnv(FNV_START, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(FNV_START, b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
