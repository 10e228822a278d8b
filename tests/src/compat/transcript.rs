//! What programs said in one run, and how two of them differ.

use std::fmt::Write;

use crate::world::beside;

/// What the programs of one run said, in sections.
#[derive(Debug, Default)]
pub struct Transcript(String);

/// Of `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE: usize = 29;
const DAYS: [&str; 7] = ["Mon, ", "Tue, ", "Wed, ", "Thu, ", "Fri, ", "Sat, ", "Sun, "];
/// Lines shown of each side where they begin to differ.
const SHOWN: usize = 12;

impl Transcript {
    /// Adds what a program said. Left out are the time of day, and of HTTP/1 what neighbours on a path say to each other about
    /// their connection (RFC 9110, 7.6.1): a proxy is a neighbour.
    pub fn add(&mut self, section: &str, said: &str) {
        let kept = |line: &&str| !about_connection(line);
        let said: String = without_dates(said).split_inclusive('\n').filter(kept).collect();
        writeln!(self.0, "==== {section}\n{said}").expect("a string can be written to");
    }

    /// The same, in the middle of a story.
    pub fn with(mut self, section: &str, said: &str) -> Transcript {
        self.add(section, said);
        self
    }

    /// Where another begins to say something else, for people.
    pub fn difference(&self, other: &Transcript) -> Option<String> {
        (self.0 != other.0).then(|| differ(&self.0, &other.0))
    }
}

/// Panics where they differ; keeps both for people.
pub(super) fn assert_same(name: &str, sides: [&str; 2], said: [&Transcript; 2]) {
    let Some(difference) = said[0].difference(said[1]) else {
        println!("\n{name}: {} lines are the same", said[0].0.lines().count());
        return;
    };
    let folder = beside("compat-transcripts");
    let _ = std::fs::create_dir_all(&folder);
    for (side, transcript) in sides.iter().zip(said) {
        let _ = std::fs::write(folder.join(format!("{name}.{side}")), &transcript.0);
    }
    panic!("{name}: {} and {} are not the same; both are in {}\n{difference}", sides[0], sides[1], folder.display());
}

fn differ(one: &str, other: &str) -> String {
    let same = one.lines().zip(other.lines()).take_while(|(one, other)| one == other).count();
    let section = one.lines().take(same + 1).filter(|line| line.starts_with("==== ") || line.starts_with("-- ")).last();
    let rest = |text: &str| {
        let lines = text.lines().skip(same).take(SHOWN);
        lines.map(|line| format!("    {line:.300}\n")).collect::<String>()
    };
    let section = section.unwrap_or("the beginning");
    format!("from line {} on, in {section}\none:\n{}other:\n{}", same + 1, rest(one), rest(other))
}

fn about_connection(line: &str) -> bool {
    let line = line.trim_end().to_ascii_lowercase();
    line == "connection: close" || line == "connection: keep-alive" || line.starts_with("keep-alive: ")
}

fn without_dates(text: &str) -> String {
    let mut rest = text;
    let mut result = String::new();
    while let Some(at) = rest.find(" GMT") {
        let end = at + " GMT".len();
        let date = end.checked_sub(DATE).and_then(|start| Some((start, rest.get(start..end)?)));
        match date {
            Some((start, date)) if DAYS.iter().any(|day| date.starts_with(day)) && !fixed(date) => {
                result.push_str(&rest[..start]);
                result.push_str("(date)");
            }
            _ => result.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    result.push_str(rest);
    result
}

/// A date that a case set itself.
fn fixed(date: &str) -> bool {
    ["1970", "2001"].iter().any(|year| date.contains(year))
}
