//! Lines that are redrawn in place: no alternate screen, so that what was shown last stays when the program ends.
//!
//! Owns the cursor between two calls of [`Screen::show`]. Everything goes out in one write, so that a redraw does not flicker.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
};

use super::table::Style;

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Whether the cursor can be moved.
    movable: bool,
    colours: bool,
    /// Widths of the lines on the screen, in cells.
    shown: Vec<usize>,
}

impl Screen {
    /// What stdout is: a terminal that can move its cursor, or not.
    pub(crate) fn of_stdout() -> Screen {
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        let movable = io::stdout().is_terminal() && !dumb;
        Screen { movable, colours: movable && variable("NO_COLOR").is_none(), shown: Vec::new() }
    }

    /// Lines one after the other, as in a pipe.
    pub(crate) fn plain() -> Screen {
        Screen { movable: false, colours: false, shown: Vec::new() }
    }

    /// Whether lines are redrawn in place.
    pub(crate) fn redraws(&self) -> bool {
        self.movable
    }

    /// How lines must look to fit: columns and rows are asked for anew each time, windows change.
    pub(crate) fn style(&self) -> (Style, Option<usize>) {
        let size = terminal_size::terminal_size().filter(|_| self.movable);
        let width = size.map(|(terminal_size::Width(width), _)| usize::from(width));
        let style =
            Style { width, colours: self.colours, ellipsis: if speaks_unicode(variable) { '…' } else { '~' } };
        (style, size.map(|(_, terminal_size::Height(height))| usize::from(height)))
    }

    /// Puts lines where the last ones were. A reader that went away is no error: there is nobody to tell.
    pub(crate) fn show(&mut self, lines: &[String]) {
        let (style, height) = self.style();
        let text = self.redraw(lines, style.width, height);
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// The last lines: all of them, however low the window is, since nothing will be drawn over them.
    pub(crate) fn conclude(&mut self, lines: &[String]) {
        self.show(&[]);
        self.movable = false;
        self.show(lines);
    }

    fn redraw(&mut self, lines: &[String], width: Option<usize>, height: Option<usize>) -> String {
        if !self.movable {
            return lines.iter().map(|line| format!("{line}\n")).collect();
        }
        // a window that became narrower has wrapped what was shown; one that became lower has scrolled it away
        let rows = |line: &usize| width.filter(|width| *width > 0).map_or(1, |width| line.div_ceil(width).max(1));
        let up = self
            .shown
            .iter()
            .map(rows)
            .sum::<usize>()
            .min(height.map_or(usize::MAX, |height| height.saturating_sub(1)));
        let mut text = if up > 0 { format!("\x1b[{up}A\r\x1b[J") } else { "\r\x1b[J".to_owned() };
        let fitting = height.map_or(lines.len(), |height| lines.len().min(height.saturating_sub(1)));
        for line in &lines[..fitting] {
            text.push_str(line);
            text.push('\n');
        }
        self.shown = lines[..fitting].iter().map(|line| cells(line)).collect();
        text
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether the locale's characters are UTF-8, as the C library decides it: the first of these that is set.
fn speaks_unicode(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Cells that a line takes: its characters without the colours' escapes.
fn cells(line: &str) -> usize {
    let mut count = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => characters.by_ref().take_while(|character| *character != 'm').for_each(drop),
            _ => count += 1,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Screen {
        Screen { movable: true, colours: true, shown: Vec::new() }
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_second_drawing_replaces_the_first() {
        let mut screen = terminal();
        assert_eq!(screen.redraw(&lines(&["a", "b"]), Some(80), Some(24)), "\r\x1b[Ja\nb\n");
        assert_eq!(screen.redraw(&lines(&["c"]), Some(80), Some(24)), "\x1b[2A\r\x1b[Jc\n");
        assert_eq!(screen.redraw(&lines(&["d"]), Some(80), Some(24)), "\x1b[1A\r\x1b[Jd\n");
    }

    #[test]
    fn a_window_that_became_narrower_is_cleared_of_what_it_wrapped() {
        let mut screen = terminal();
        screen.redraw(&lines(&["0123456789", "\x1b[32m0123\x1b[0m"]), Some(80), Some(24));
        assert!(screen.redraw(&lines(&["x"]), Some(4), Some(24)).starts_with("\x1b[4A"));
    }

    #[test]
    fn no_more_lines_are_drawn_than_the_window_is_high() {
        let mut screen = terminal();
        assert_eq!(screen.redraw(&lines(&["a", "b", "c", "d"]), Some(80), Some(3)), "\r\x1b[Ja\nb\n");
    }

    #[test]
    fn an_empty_drawing_clears_and_leaves_the_cursor_where_the_first_line_was() {
        let mut screen = terminal();
        screen.redraw(&lines(&["a", "b"]), Some(80), Some(24));
        assert_eq!(screen.redraw(&[], Some(80), Some(24)), "\x1b[2A\r\x1b[J");
    }

    #[test]
    fn the_first_locale_that_is_set_decides_about_characters() {
        let of = |set: &'static [(&str, &str)]| {
            speaks_unicode(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into()))
        };
        assert!(of(&[("LANG", "de_DE.UTF-8")]) && of(&[("LC_ALL", "C.utf8"), ("LANG", "C")]));
        assert!(!of(&[]) && !of(&[("LC_ALL", "POSIX"), ("LANG", "en_US.UTF-8")]));
    }

    #[test]
    fn a_pipe_gets_lines_without_control_sequences() {
        let mut screen = Screen::plain();
        screen.redraw(&lines(&["a"]), None, None);
        assert_eq!(screen.redraw(&lines(&["a", "b"]), None, None), "a\nb\n");
    }
}
