//! Every target over its corpus: what a fuzzer once found interesting, or wrong, holds with every change.

use std::fs;
use std::path::{Path, PathBuf};

use minimesh_fuzz::TARGETS;

#[test]
fn every_target_holds_for_its_corpus() {
    for target in TARGETS {
        let seeds = seeds(target.name);
        assert!(seeds.len() >= 3, "{} has {} seeds", target.name, seeds.len());
        for seed in seeds {
            println!("{}", seed.display());
            (target.run)(&fs::read(&seed).expect("a file"));
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    for entry in fs::read_dir(folder()).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(minimesh_fuzz::target(&name).is_some(), "no target of the name {name}");
    }
}

fn seeds(target: &str) -> Vec<PathBuf> {
    let mut seeds: Vec<PathBuf> =
        fs::read_dir(folder().join(target)).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    seeds.sort();
    seeds
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}
