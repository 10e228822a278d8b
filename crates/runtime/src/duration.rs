//! Durations as people write them in flags, annotations and routes: GEP-2257, the subset of Go's syntax that Gateway API uses.
//! One to four parts of up to five digits with a unit each: `h`, `m`, `s`, `ms`. No signs, no fractions.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration such as 30s, 100ms or 1h30m (GEP-2257: up to four parts, units h, m, s, ms)")]
pub struct Invalid {
    text: String,
}

/// Parses a duration; fit for clap: `#[arg(value_parser = minimesh_runtime::duration::parse)]`.
pub fn parse(text: &str) -> Result<Duration, Invalid> {
    parse_parts(text).ok_or_else(|| Invalid { text: text.chars().take(64).collect() })
}

/// Writes a duration so that [`parse`] reads it again; what is below a millisecond, or above 99999 hours, is lost.
pub fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (hours, minutes) = ((millis / 3_600_000).min(99_999), millis / 60_000 % 60);
    let (seconds, millis) = (millis / 1_000 % 60, millis % 1_000);
    let parts = [(hours, "h"), (minutes, "m"), (seconds, "s"), (millis, "ms")];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn parse_parts(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) || parts == 4 {
            return None;
        }
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let (unit, after) = after.split_at(after.bytes().take_while(u8::is_ascii_lowercase).count());
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        parts += 1;
        rest = after;
    }
    (parts > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_examples_of_gep_2257() {
        let cases = [
            ("0h", 0),
            ("0s", 0),
            ("0h0m0s", 0),
            ("1h", 3_600_000),
            ("30m", 1_800_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("2h30m", 9_000_000),
            ("150m", 9_000_000),
            ("7230s", 7_230_000),
            ("1h30m10s", 5_410_000),
            ("10s30m1h", 5_410_000),
            ("100ms200ms300ms", 600),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_gep_2257_refuses() {
        for text in
            ["", "1", "1m1", "1h30m10s20ms50h", "999999h", "1.5h", "-15m", "1d", "1us", "1 s", "s", "1S", "+1s", "１s"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_message_names_text_and_form() {
        let error = parse("5 minutes").expect_err("no duration").to_string();
        assert!(error.starts_with("\"5 minutes\" is not a duration such as 30s"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read_again(millis in 0u64..99_999 * 3_600_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
