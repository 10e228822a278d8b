//! Pictures of socks, drawn: a pattern and a palette, named by the two words of a sock's id.

use bytes::Bytes;

use crate::http::{Answer, Payload};

/// The picture of this name, if there is one.
pub(crate) fn picture(name: &str) -> Option<Answer> {
    let name = name.strip_suffix(".svg")?;
    if name == "loom" {
        return Some(loom());
    }
    let (name, pair) = match name.strip_suffix("-pair") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (pattern, palette) = name.split_once('-')?;
    let pattern = PATTERNS.iter().find(|known| known.0 == pattern)?.1;
    let palette = PALETTES.iter().find(|known| known.0 == palette)?;
    let svg = draw(pattern, palette, pair);
    Some(Answer::new(SVG, svg).with_header("cache-control", "public, max-age=3600"))
}

fn draw(pattern: &str, (name, ground, figure, accent): &(&str, &str, &str, &str), pair: bool) -> String {
    let tile = pattern.replace("FIGURE", figure).replace("ACCENT", accent).replace("GROUND", ground);
    let sock = format!(
        "<g clip-path='url(#shape)'><rect width='240' height='280' fill='{ground}'/>\
         <rect width='240' height='280' fill='url(#tile)'/>\
         <path d='M60 222c-6-34 40-38 52-8 10 26-14 58-40 52z' fill='{accent}'/>\
         <path d='M172 190c34-12 62 18 48 50-14 30-52 26-58 8-6-20-8-50 10-58z' fill='{accent}'/>\
         <rect x='60' y='10' width='90' height='34' fill='{accent}'/>\
         <path d='M70 10v34M82 10v34M94 10v34M106 10v34M118 10v34M130 10v34' stroke='{ground}' stroke-width='3' opacity='.55'/></g>\
         <path d='{SHAPE}' fill='none' stroke='#10242b' stroke-opacity='.28' stroke-width='3'/>"
    );
    let body = match pair {
        false => sock,
        true => format!(
            "<g transform='translate(34 2) scale(.86)' opacity='.92'>{sock}</g><g transform='translate(-22 34) scale(.86)'>{sock}</g>"
        ),
    };
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 240 280' role='img' aria-label='{name} sock'>\
         <defs><clipPath id='shape'><path d='{SHAPE}'/></clipPath>\
         <pattern id='tile' width='36' height='36' patternUnits='userSpaceOnUse'>{tile}</pattern></defs>{body}</svg>"
    )
}

/// A large picture of nothing but stitches: 1 MiB, sent chunked. Nobody looks at it; a mesh has to carry it.
fn loom() -> Answer {
    let mut pieces: std::collections::VecDeque<Bytes> =
        [Bytes::from_static(b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1600 1600'><g fill='#0f766e'>")]
            .into();
    let stitch = b"<path d='M0 0l5 6 5-6v4l-5 6-5-6z'/>";
    let row = Bytes::from(stitch.repeat(LOOM_ROW / stitch.len()));
    pieces.extend((0..LOOM_ROWS).map(|_| row.clone()));
    pieces.push_back(Bytes::from_static(b"</g></svg>"));
    let mut answer = Answer::new(SVG, Bytes::new());
    answer.payload = Payload { pieces, exact: false };
    answer
}

const SVG: &str = "image/svg+xml";
const LOOM_ROW: usize = 16 * 1024;
const LOOM_ROWS: usize = 64;

/// Leg, heel, foot and toe.
const SHAPE: &str = "M64 12h82q4 0 4 4v120c0 26 18 40 46 50 30 10 34 44 14 62-16 14-40 14-62 6l-58-22c-30-12-34-40-32-66l2-150q0-4 4-4z";

/// Tiles of 36 by 36.
const PATTERNS: &[(&str, &str)] = &[
    (
        "argyle",
        "<path d='M18 0l18 18-18 18L0 18z' fill='FIGURE'/><path d='M0 0l36 36M36 0L0 36' stroke='ACCENT' stroke-width='1.5' stroke-dasharray='3 3'/>",
    ),
    (
        "chevron",
        "<path d='M0 14L18 0l18 14v10L18 10 0 24z' fill='FIGURE'/><path d='M0 32l18-14 18 14v4L18 22 0 36z' fill='ACCENT'/>",
    ),
    (
        "dots",
        "<circle cx='9' cy='9' r='4.5' fill='FIGURE'/><circle cx='27' cy='27' r='4.5' fill='FIGURE'/><circle cx='27' cy='9' r='2' fill='ACCENT'/>",
    ),
    ("hearts", "<path d='M18 28l-9-9a5.5 5.5 0 0 1 9-7 5.5 5.5 0 0 1 9 7z' fill='FIGURE'/>"),
    (
        "mesh",
        "<path d='M0 0l36 36M36 0L0 36M18 0v36M0 18h36' stroke='FIGURE' stroke-width='2' fill='none'/><circle cx='18' cy='18' r='5' fill='ACCENT'/><circle r='5' fill='ACCENT'/><circle cx='36' r='5' fill='ACCENT'/><circle cy='36' r='5' fill='ACCENT'/><circle cx='36' cy='36' r='5' fill='ACCENT'/>",
    ),
    ("plain", "<path d='M0 9h36M0 27h36' stroke='FIGURE' stroke-width='1' stroke-dasharray='2 5'/>"),
    ("rings", "<rect width='36' height='10' fill='FIGURE'/><rect y='20' width='36' height='5' fill='ACCENT'/>"),
    ("stars", "<path d='M18 5l3.5 8.500 9 .7-7 6 2.200 9-7.700-5-7.700 5 2.200-9-7-6 9-.7z' fill='FIGURE'/>"),
    (
        "tartan",
        "<rect width='36' height='12' fill='FIGURE' opacity='.6'/><rect width='12' height='36' fill='FIGURE' opacity='.6'/><path d='M0 24h36M24 0v36' stroke='ACCENT' stroke-width='2'/>",
    ),
    ("waves", "<path d='M0 12q9-12 18 0t18 0M0 30q9-12 18 0t18 0' stroke='FIGURE' stroke-width='5' fill='none'/>"),
    ("zebra", "<path d='M0 6q18 12 36 0v8q-18 12-36 0zM0 24q18 12 36 0v8q-18 12-36 0z' fill='FIGURE'/>"),
];

/// Ground, figure, accent.
const PALETTES: &[(&str, &str, &str, &str)] = &[
    ("citrus", "#f5d547", "#7bb661", "#2f6b4f"),
    ("ember", "#f2e8dc", "#d9482b", "#7a1f1f"),
    ("harbour", "#f4f1ea", "#2c6fad", "#173a5e"),
    ("ink", "#fafafa", "#1c1c24", "#3b3b4a"),
    ("lagoon", "#d7f0ee", "#3fa7b5", "#14606b"),
    ("midnight", "#1d2b53", "#e6e9f5", "#f5c451"),
    ("moss", "#dfe6c9", "#6d8b4e", "#39502c"),
    ("oat", "#e9dcc3", "#c3a878", "#b08d57"),
    ("rosa", "#fde8ec", "#e2557a", "#a32a4e"),
    ("rust", "#e8c9a6", "#b7522a", "#5a2614"),
    ("teal", "#ccf1ea", "#12a594", "#0b5f57"),
    ("violet", "#3c2a63", "#f4d35e", "#7e5bc2"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::seeds;

    #[test]
    fn every_sock_has_both_pictures_and_the_loom_is_a_mebibyte() {
        for row in &seeds::tables()[0].rows {
            for url in [&row[5], &row[6]] {
                assert!(picture(url.strip_prefix("/catalogue/images/").unwrap()).is_some(), "{url}");
            }
        }
        let loom = picture("loom.svg").unwrap().payload;
        let bytes: usize = loom.pieces.iter().map(Bytes::len).sum();
        assert!(bytes > 1_000_000 && !loom.exact, "{bytes}");
        assert!(picture("../../etc/passwd").is_none());
    }
}
