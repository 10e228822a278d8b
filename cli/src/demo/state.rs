//! The live-state folder: one JSON file per object, each replaced as a whole, for the control plane to watch.
//!
//! Written by the node alone. A file that does not change is not touched, so that the watcher hears of changes only.

use std::{collections::HashMap, fs, io, path::PathBuf};

use minimesh_index::Object;

/// The folder and what is in it.
pub(crate) struct StateFolder {
    folder: PathBuf,
    /// On the same file system, where the watcher does not look.
    beside: PathBuf,
    written: HashMap<String, Vec<u8>>,
}

impl StateFolder {
    /// Both folders exist and are empty.
    pub(crate) fn new(folder: PathBuf, beside: PathBuf) -> StateFolder {
        StateFolder { folder, beside, written: HashMap::new() }
    }

    /// Makes the folder hold exactly these objects.
    pub(crate) fn write(&mut self, objects: &[Object]) -> io::Result<()> {
        let mut wanted = HashMap::new();
        for object in objects {
            let key = object.key();
            let name = format!("{}.{}.{}.json", key.kind.name().to_lowercase(), key.namespace, key.name);
            wanted.insert(name, serde_json::to_vec_pretty(object)?);
        }
        for (name, text) in &wanted {
            if self.written.get(name) == Some(text) {
                continue;
            }
            let new = self.beside.join(name);
            fs::write(&new, text)?;
            fs::rename(&new, self.folder.join(name))?;
            self.written.insert(name.clone(), text.clone());
        }
        let gone: Vec<String> = self.written.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            fs::remove_file(self.folder.join(&name))?;
            self.written.remove(&name);
        }
        Ok(())
    }
}
