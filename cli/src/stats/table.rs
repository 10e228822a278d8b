//! Aligned text: columns that know how wide they are and which go first when the terminal is narrow. Pure.

use std::fmt::Write;

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Green,
    None,
    Red,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) paint: Paint,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, paint: Paint::None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) align: Align,
    /// Columns with the highest number are left out first; those with 0 stay.
    pub(crate) expendable: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// How wide, and whether in colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// `None`: as wide as it gets.
    pub(crate) width: Option<usize>,
    pub(crate) colours: bool,
    /// Stands for what was cut off; one cell wide.
    pub(crate) ellipsis: char,
}

impl Style {
    /// For pipes, files and tests.
    pub(crate) const PLAIN: Style = Style { width: None, colours: false, ellipsis: '…' };

    /// A text in a colour, if there are any.
    pub(crate) fn paint(self, text: &str, paint: Paint) -> String {
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Green => "32",
            Paint::Red => "1;31",
            Paint::None => "",
        };
        if self.colours && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// As much of a text as fits into one line.
    pub(crate) fn cut(self, text: &str) -> String {
        match self.width {
            Some(width) if text.chars().count() > width => {
                text.chars().take(width.saturating_sub(1)).chain([self.ellipsis]).collect()
            }
            _ => text.to_owned(),
        }
    }
}

/// Lines of a table: the head, then one per row. No line is wider than the style says.
pub(crate) fn render(columns: &[Column], rows: &[Vec<Cell>], style: Style) -> Vec<String> {
    let widths: Vec<usize> = columns.iter().enumerate().map(|(at, column)| width(column, at, rows)).collect();
    let shown = fitting(columns, &widths, style.width);
    let head: Vec<Cell> =
        columns.iter().map(|column| Cell { text: column.name.to_owned(), paint: Paint::Bold }).collect();
    std::iter::once(&head).chain(rows).map(|row| line(row, columns, &widths, &shown, style)).collect()
}

fn width(column: &Column, at: usize, rows: &[Vec<Cell>]) -> usize {
    let widest = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.chars().count()).max();
    widest.unwrap_or(0).max(column.name.chars().count())
}

/// Which columns fit: the most expendable go first, among equals the rightmost.
fn fitting(columns: &[Column], widths: &[usize], most: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let Some(most) = most else { return shown };
    let total = |shown: &[usize]| shown.iter().map(|at| widths[*at] + GAP).sum::<usize>().saturating_sub(GAP);
    while total(&shown) > most {
        let goes = (0..shown.len()).max_by_key(|place| (columns[shown[*place]].expendable, *place));
        match goes.filter(|place| columns[shown[*place]].expendable > 0) {
            Some(place) => shown.remove(place),
            None => break,
        };
    }
    shown
}

fn line(row: &[Cell], columns: &[Column], widths: &[usize], shown: &[usize], style: Style) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (place, at) in shown.iter().enumerate() {
        let Some(cell) = row.get(*at) else { continue };
        let (gap, last) = (if place == 0 { 0 } else { GAP }, place + 1 == shown.len());
        let room = style.width.map_or(usize::MAX, |most| most.saturating_sub(used + gap));
        if room == 0 {
            break;
        }
        let text = Style { width: Some(widths[*at].min(room)), ..style }.cut(&cell.text);
        let padding = widths[*at].min(room) - text.chars().count();
        let (before, after) = match columns[*at].align {
            Align::Left if last => (0, 0),
            Align::Left => (0, padding),
            Align::Right => (padding, 0),
        };
        // writing to a String cannot fail
        let _ = write!(line, "{:gap$}{:before$}{}{:after$}", "", "", style.paint(&text, cell.paint), "");
        used += gap + before + text.chars().count() + after;
    }
    line
}

/// Bytes as people read them: three digits and a unit of 1024.
pub(crate) fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{count} B"),
        (_, value) if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// Milliseconds with as many digits as mean something.
pub(crate) fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => NOTHING.to_owned(),
        Some(value) if value < 9.995 => format!("{value:.2}"),
        Some(value) if value < 99.95 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// A share as a percentage; only a whole success is 100 %.
pub(crate) fn percentage(share: Option<f64>) -> String {
    match share {
        None => NOTHING.to_owned(),
        Some(share) => format!("{:.2}%", (share * 10_000.0).floor() / 100.0),
    }
}

/// A rate per second.
pub(crate) fn rate(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Where there is no number.
pub(crate) const NOTHING: &str = "-";
/// Between columns.
const GAP: usize = 2;
const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { name: "NAME", align: Align::Left, expendable: 0 },
        Column { name: "RPS", align: Align::Right, expendable: 1 },
        Column { name: "BYTES", align: Align::Right, expendable: 2 },
    ];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec!["catalogue-db".into(), "1.5".into(), "9 B".into()],
            vec!["a".into(), Cell { text: "120".into(), paint: Paint::Red }, "12 KiB".into()],
        ]
    }

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let expected = ["NAME          RPS   BYTES", "catalogue-db  1.5     9 B", "a             120  12 KiB"];
        assert_eq!(render(&COLUMNS, &rows(), Style::PLAIN), expected);
    }

    #[test]
    fn a_narrow_terminal_loses_the_least_important_columns_and_no_line_is_too_wide() {
        for width in 0..40 {
            let style = Style { width: Some(width), ..Style::PLAIN };
            for line in render(&COLUMNS, &rows(), style) {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
        let narrow = render(&COLUMNS, &rows(), Style { width: Some(20), ..Style::PLAIN });
        assert_eq!(narrow[0], "NAME          RPS");
        assert_eq!(render(&COLUMNS, &rows(), Style { width: Some(6), ..Style::PLAIN })[1], "catal…");
    }

    #[test]
    fn colours_add_no_width() {
        let lines = render(&COLUMNS, &rows(), Style { colours: true, ..Style::PLAIN });
        assert_eq!(lines[2], "a             \x1b[1;31m120\x1b[0m  12 KiB");
    }

    #[test]
    fn quantities_are_short() {
        let bytes = [0, 999, 1000, 1024, 10_188, 10_240, 1 << 20, u64::MAX].map(bytes);
        assert_eq!(bytes, ["0 B", "999 B", "1.0 KiB", "1.0 KiB", "9.9 KiB", "10 KiB", "1.0 MiB", "16384 PiB"]);
        assert_eq!([Some(0.0421), Some(12.345), Some(1234.5), None].map(milliseconds), ["0.04", "12.3", "1234", "-"]);
        assert_eq!([Some(1.0), Some(0.99999), None].map(percentage), ["100.00%", "99.99%", "-"]);
    }
}
