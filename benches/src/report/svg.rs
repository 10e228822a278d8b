//! Plots as SVG: lines over an axis, or bars in groups. No more than this report needs.

use std::fmt::Write as _;

/// Lines of points.
pub(super) struct Lines {
    /// Above the plot.
    pub(super) title: String,
    /// Below it.
    pub(super) x: Axis,
    /// Left of it.
    pub(super) y: Axis,
    /// Name and points of each line.
    pub(super) series: Vec<(String, Vec<(f64, f64)>)>,
    /// The colour of the first, so that who has no line in this plot keeps its colour in others.
    pub(super) first_colour: usize,
}

/// Bars side by side.
pub(super) struct Bars {
    /// Above the plot.
    pub(super) title: String,
    /// Left of it.
    pub(super) y: String,
    /// Names below the plot; each with one bar of every series.
    pub(super) groups: Vec<String>,
    /// Name, and a height for each group, if there is one.
    pub(super) series: Vec<(String, Vec<Option<f64>>)>,
    /// As for lines.
    pub(super) first_colour: usize,
}

/// One axis.
pub(super) struct Axis {
    /// What it shows.
    pub(super) label: String,
    /// Equal factors are equal distances.
    pub(super) logarithmic: bool,
    /// Where to write what; none: round numbers.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// With round numbers.
    pub(super) fn new(label: &str, logarithmic: bool) -> Axis {
        Axis { label: label.to_owned(), logarithmic, ticks: Vec::new() }
    }

    fn place(&self, value: f64) -> f64 {
        if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }

    /// Values to write, within or just outside of these.
    fn ticks(&self, low: f64, high: f64) -> Vec<(f64, String)> {
        if !self.ticks.is_empty() {
            return self.ticks.clone();
        }
        let shown = |value: f64| (value, number(value));
        if self.logarithmic {
            let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
            let decades = first..=last.max(first + 1);
            return decades.map(|power| shown(10f64.powi(power))).collect();
        }
        let step = round_step((high - low.min(0.0)) / 5.0);
        let count = (high / step).ceil().max(1.0) as u32;
        (0..=count).map(|index| shown(f64::from(index) * step)).collect()
    }
}

impl Lines {
    /// The whole file; none if there is no point.
    pub(super) fn render(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|(_, points)| points.iter().copied());
        let range = |of: fn((f64, f64)) -> f64| {
            points().map(of).fold(None, |range: Option<(f64, f64)>, value| {
                let (low, high) = range.unwrap_or((value, value));
                Some((low.min(value), high.max(value)))
            })
        };
        let ((x_low, x_high), (y_low, y_high)) = (range(|point| point.0)?, range(|point| point.1)?);
        let (x_ticks, y_ticks) = (self.x.ticks(x_low, x_high), self.y.ticks(y_low, y_high));
        let x = Scale::new(&self.x, &x_ticks, (x_low, x_high), (LEFT, LEFT + WIDTH));
        let y = Scale::new(&self.y, &y_ticks, (y_low, y_high), (TOP + HEIGHT, TOP));
        let mut svg = begin(&self.title, &self.y.label);
        for (value, text) in &y_ticks {
            horizontal(&mut svg, y.at(*value), text);
        }
        for (value, text) in &x_ticks {
            let at = x.at(*value);
            line(&mut svg, (at, TOP), (at, TOP + HEIGHT), GRID);
            label(&mut svg, (at, TOP + HEIGHT + 16.0), "middle", text);
        }
        label(&mut svg, (LEFT + WIDTH / 2.0, TOP + HEIGHT + 36.0), "middle", &self.x.label);
        for (index, (name, points)) in self.series.iter().enumerate() {
            let colour = colour(self.first_colour + index);
            let places: Vec<(f64, f64)> = points.iter().map(|&(h, v)| (x.at(h), y.at(v))).collect();
            let path: Vec<String> = places.iter().map(|(h, v)| format!("{h:.1},{v:.1}")).collect();
            append(
                &mut svg,
                format_args!("<polyline fill='none' stroke='{colour}' stroke-width='2' points='{}'/>", path.join(" ")),
            );
            for (h, v) in places {
                append(&mut svg, format_args!("<circle cx='{h:.1}' cy='{v:.1}' r='3' fill='{colour}'/>"));
            }
            legend(&mut svg, index, colour, name);
        }
        Some(svg + "</svg>\n")
    }
}

impl Bars {
    /// The whole file; none if there is no bar.
    pub(super) fn render(&self) -> Option<String> {
        let heights = self.series.iter().flat_map(|(_, heights)| heights.iter().flatten().copied());
        let high =
            heights.fold(None, |high: Option<f64>, height| Some(high.map_or(height, |high| high.max(height))))?;
        let axis = Axis::new(&self.y, false);
        let ticks = axis.ticks(0.0, high);
        let y = Scale::new(&axis, &ticks, (0.0, high), (TOP + HEIGHT, TOP));
        let mut svg = begin(&self.title, &self.y);
        for (value, text) in &ticks {
            horizontal(&mut svg, y.at(*value), text);
        }
        let group_width = WIDTH / self.groups.len() as f64;
        let bar_width = group_width * 0.8 / self.series.len() as f64;
        for (group, name) in self.groups.iter().enumerate() {
            let left = LEFT + group as f64 * group_width + group_width * 0.1;
            label(&mut svg, (left + group_width * 0.4, TOP + HEIGHT + 16.0), "middle", name);
            for (index, (_, heights)) in self.series.iter().enumerate() {
                let Some(height) = heights.get(group).copied().flatten() else { continue };
                let (at, top) = (left + index as f64 * bar_width, y.at(height));
                let (colour, tall) = (colour(self.first_colour + index), TOP + HEIGHT - top);
                append(
                    &mut svg,
                    format_args!(
                        "<rect x='{at:.1}' y='{top:.1}' width='{:.1}' height='{tall:.1}' fill='{colour}'/>",
                        bar_width * 0.92
                    ),
                );
                label(&mut svg, (at + bar_width * 0.46, top - 4.0), "middle", &number(height));
            }
        }
        for (index, (name, _)) in self.series.iter().enumerate() {
            legend(&mut svg, index, colour(self.first_colour + index), name);
        }
        Some(svg + "</svg>\n")
    }
}

/// From values to places.
struct Scale<'a> {
    axis: &'a Axis,
    values: (f64, f64),
    places: (f64, f64),
}

impl<'a> Scale<'a> {
    /// Wide enough for what is written and what is drawn.
    fn new(axis: &'a Axis, ticks: &[(f64, String)], range: (f64, f64), places: (f64, f64)) -> Scale<'a> {
        let all = ticks.iter().map(|(value, _)| *value).chain([range.0, range.1]).map(|value| axis.place(value));
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        Scale { axis, values: (low, if high > low { high } else { low + 1.0 }), places }
    }

    fn at(&self, value: f64) -> f64 {
        let ((low, high), (from, to)) = (self.values, self.places);
        from + (self.axis.place(value) - low) / (high - low) * (to - from)
    }
}

fn begin(title: &str, y: &str) -> String {
    let (width, height) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' font-family='sans-serif' font-size='12'>\n\
         <rect width='100%' height='100%' fill='#ffffff'/>\n"
    );
    let (middle, side) = (TOP + HEIGHT / 2.0, 16.0);
    append(&mut svg, format_args!("<text x='{LEFT}' y='24' font-size='15'>{}</text>", escaped(title)));
    append(
        &mut svg,
        format_args!(
            "<text transform='translate({side},{middle}) rotate(-90)' text-anchor='middle'>{}</text>",
            escaped(y)
        ),
    );
    svg
}

fn horizontal(svg: &mut String, at: f64, text: &str) {
    line(svg, (LEFT, at), (LEFT + WIDTH, at), GRID);
    label(svg, (LEFT - 6.0, at + 4.0), "end", text);
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    append(svg, format_args!("<line x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}' stroke='{colour}'/>"));
}

fn label(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    append(svg, format_args!("<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{}</text>", escaped(text)));
}

fn legend(svg: &mut String, index: usize, colour: &str, name: &str) {
    let (x, y) = (LEFT + WIDTH + 16.0, TOP + 12.0 + index as f64 * 20.0);
    append(svg, format_args!("<rect x='{x}' y='{:.1}' width='12' height='12' fill='{colour}'/>", y - 10.0));
    label(svg, (x + 18.0, y), "start", name);
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn append(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("a String takes everything");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 1.0 => format!("{value:.2}"),
        small if small < 10.0 && value.fract() != 0.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// 1, 2 or 5 times a power of ten, at least as much.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(f64::MIN_POSITIVE).log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| power * factor >= rough * 0.999).unwrap_or(10.0);
    power * factor
}

const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const GRID: &str = "#dddddd";
/// Told apart also by who sees no red or no green (Okabe and Ito).
const COLOURS: [&str; 8] = ["#999999", "#e69f00", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!([0.7, 1.0, 1.1, 3.0, 9.0, 230.0].map(round_step), [1.0, 1.0, 2.0, 5.0, 10.0, 500.0]);
    }

    #[test]
    fn ticks_enclose_what_is_drawn() {
        let linear: Vec<f64> = Axis::new("", false).ticks(3.0, 9.5).into_iter().map(|(value, _)| value).collect();
        assert_eq!(linear, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let logarithmic = Axis::new("", true).ticks(30.0, 4000.0);
        let texts: Vec<&str> = logarithmic.iter().map(|(_, text)| &**text).collect();
        assert_eq!(texts, ["10", "100", "1000", "10000"]);
    }

    #[test]
    fn lines_are_drawn_inside_and_named() {
        let series = vec![("a<b".to_owned(), vec![(1.0, 10.0), (2.0, 1000.0)])];
        let (x, y) = (Axis::new("x", false), Axis::new("y", true));
        let svg = Lines { title: "t & u".into(), x, y, series, first_colour: 0 }.render().unwrap();
        assert!(svg.contains("t &amp; u") && svg.contains("a&lt;b") && svg.ends_with("</svg>\n"), "{svg}");
        // ten at the bottom, a thousand at the top
        assert!(svg.contains(&format!("{:.1},{:.1}'/>", LEFT + WIDTH, TOP)), "{svg}");
        let none = Lines {
            title: String::new(),
            x: Axis::new("", false),
            y: Axis::new("", false),
            series: vec![],
            first_colour: 0,
        };
        assert_eq!(none.render(), None);
    }

    #[test]
    fn bars_that_are_not_there_leave_a_gap() {
        let series = vec![("a".to_owned(), vec![Some(2.0), None]), ("b".to_owned(), vec![None, Some(4.0)])];
        let groups = vec!["one".to_owned(), "two".to_owned()];
        let svg = Bars { title: "t".into(), y: "y".into(), groups, series, first_colour: 1 }.render().unwrap();
        assert_eq!(svg.matches("<rect x=").count(), 2 + 2, "two bars, two legends: {svg}");
    }
}
