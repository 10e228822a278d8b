//! Durations of the Gateway API (GEP-2257): at most four numbers of at most five digits, each with a unit.

use std::time::Duration;

/// As `1h30m` or `500ms`.
pub(crate) fn parse(text: &str) -> Result<Duration, &'static str> {
    const FORM: &str = "is no duration of the Gateway API, such as 1h30m, 10s or 500ms";
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 5 {
            return Err(FORM);
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| FORM)?;
        let unit = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(unit);
        total += match unit {
            "h" => Duration::from_secs(number * 3_600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return Err(FORM),
        };
        if tail.is_empty() {
            return Ok(total);
        }
        rest = tail;
    }
    Err(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_gep_2257() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("1h"), Ok(3_600.0));
        assert_eq!(seconds("1h30m"), Ok(5_400.0));
        assert_eq!(seconds("1s500ms"), Ok(1.5));
        assert_eq!(seconds("0s"), Ok(0.0));
        for text in ["", "1", "1d", "1.5h", "-1s", "1 s", "100000s", "1h1h1h1h1h", "1µs", "s", "1H"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
