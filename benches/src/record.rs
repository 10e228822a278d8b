//! What a comparison leaves behind: one JSON line for what is said once, and one for each proxy in each round.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::load::{Failure, Outcome};

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A proxy in a round.
    Measured(Box<Measured>),
    /// How the run was made.
    Run(Box<Run>),
}

/// How a run was made, and on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What to type to make it again.
    pub command: String,
    /// What was compiled.
    pub commit: String,
    /// Seconds since 1970.
    pub begun: u64,
    /// How often everything was measured.
    pub rounds: usize,
    /// Name and value, for people.
    pub machine: Vec<(String, String)>,
    /// What was measured, with its version.
    pub present: BTreeMap<String, String>,
    /// What was not, with the reason.
    pub absent: BTreeMap<String, String>,
}

/// One proxy (or pair of sidecars) in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Which round.
    pub round: usize,
    /// Who.
    pub subject: String,
    /// The machine's load average of a minute before it began: what others did.
    pub load_before: f64,
    /// From the start of the proxies to the first answer through them, milliseconds.
    pub first_answer_ms: f64,
    /// Resident memory of each proxy before any load, KiB.
    pub idle_kib: Vec<u64>,
    /// By name.
    pub points: BTreeMap<String, Outcome>,
    /// Why there is no more of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Adds a line.
pub fn append(path: &Path, line: &Line) -> Result<(), Failure> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let text = serde_json::to_string(line)? + "\n";
    Ok(file.write_all(text.as_bytes())?)
}

/// The run, and everything that was measured in it. A last line that was not written to its end, as its run was ended, is left out.
pub fn read(path: &Path) -> Result<(Run, Vec<Measured>), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut run, mut measured) = (None, Vec::new());
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match serde_json::from_str(line)? {
            Line::Run(found) => run = Some(*found),
            Line::Measured(one) => measured.push(*one),
        }
    }
    Ok((run.ok_or_else(|| format!("{} does not say how it was made", path.display()))?, measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_as_written() {
        let path = std::env::temp_dir().join(format!("minimesh-record-{}", std::process::id()));
        let run = Run { rounds: 10, absent: [("a".into(), "b".into())].into(), ..Run::default() };
        let one = Measured { round: 1, subject: "direct".into(), ..Measured::default() };
        append(&path, &Line::Run(Box::new(run.clone()))).unwrap();
        append(&path, &Line::Measured(Box::new(one.clone()))).unwrap();
        assert_eq!(read(&path).unwrap(), (run.clone(), vec![one.clone()]));
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole.clone() + &whole[..whole.len() / 2].replace('\n', "")).unwrap();
        assert_eq!(read(&path).unwrap(), (run, vec![one]), "of a run that was ended while it wrote");
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).is_err());
    }
}
