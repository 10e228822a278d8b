//! How the access log writes what peers sent: no value can end a field, a line, or a terminal's patience. Pure.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Appends a JSON string. Bytes that are no UTF-8 become U+FFFD; control characters, also those above ASCII and those that
/// some readers take for line ends or that turn the direction of writing, become `\uXXXX`.
pub(super) fn json(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    let mut rest = value;
    while !rest.is_empty() {
        // nearly all of nearly everything is plain; no character of several bytes has a plain one in it
        let (plain, odd) = rest.split_at(length_of(rest, is_plain));
        out.extend_from_slice(plain);
        let (odd, next) = odd.split_at(length_of(odd, |byte| !is_plain(byte)));
        escaped(out, odd);
        rest = next;
    }
    out.push(b'"');
}

/// Appends a JSON string of what is displayed, without a copy where it is plain.
pub(super) fn json_displayed(out: &mut Vec<u8>, value: impl Display) {
    let start = out.len();
    out.push(b'"');
    write_to(out, format_args!("{value}"));
    if out[start + 1..].iter().all(|byte| is_plain(*byte)) {
        out.push(b'"');
    } else {
        let written = out.split_off(start);
        json(out, &written[1..]);
    }
}

/// How many bytes there are before the first that is not `like` this.
fn length_of(bytes: &[u8], like: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !like(*byte)).unwrap_or(bytes.len())
}

/// Whether a byte stands for itself in a JSON string.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn escaped(out: &mut Vec<u8>, odd: &[u8]) {
    for chunk in odd.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend(b"\\\""),
                '\\' => out.extend(b"\\\\"),
                '\n' => out.extend(b"\\n"),
                '\r' => out.extend(b"\\r"),
                '\t' => out.extend(b"\\t"),
                _ if is_treacherous(character) => write_to(out, format_args!("\\u{:04x}", u32::from(character))),
                _ => out.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend("\u{fffd}".as_bytes());
        }
    }
}

/// Appends lower-case hexadecimal, as trace ids are written.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

/// Appends milliseconds with three decimals, rounded.
pub(super) fn milliseconds(out: &mut Vec<u8>, time: Duration) {
    let micros = (time + Duration::from_nanos(500)).as_micros();
    write_to(out, format_args!("{}.", micros / 1000));
    digits::<3>(out, (micros % 1000) as u64);
}

/// Appends the last `N` decimal digits of a number.
fn digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text);
}

/// Appends what stands between quotes in Apache's formats: printable ASCII as it is, all else as `\xhh`.
pub(super) fn apache(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            b' '..=b'~' => out.push(*byte),
            _ => write_to(out, format_args!("\\x{byte:02x}")),
        }
    }
}

/// `2026-11-22T18:24:10.123Z`.
pub(super) fn rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let Calendar { year, month, day, hour, minute, second, millis } = Calendar::of(time);
    digits::<4>(out, year);
    for (before, part) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
        out.push(before);
        digits::<2>(out, part);
    }
    out.push(b'.');
    digits::<3>(out, millis);
    out.push(b'Z');
}

/// `22/Nov/2026:18:24:10 +0000`.
pub(super) fn common_log(out: &mut Vec<u8>, time: SystemTime) {
    let Calendar { year, month, day, hour, minute, second, .. } = Calendar::of(time);
    let month = MONTHS[(month as usize).saturating_sub(1) % 12];
    write_to(out, format_args!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"));
}

/// Appends formatted text.
pub(super) fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // writing to a vector cannot fail
    let _ = out.write_fmt(text);
}

fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// UTC by the proleptic Gregorian calendar.
struct Calendar {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millis: u64,
}

impl Calendar {
    /// A clock before 1970 is 1970.
    fn of(time: SystemTime) -> Calendar {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Howard Hinnant's civil_from_days: years begin in March, so that the leap day is the last
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Calendar {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * march_month + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            millis: since.subsec_millis().into(),
        }
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn times_are_written_in_utc() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z", "29/Feb/2000:00:00:00 +0000"),
            (1_795_371_850_007, "2026-11-22T18:24:10.007Z", "22/Nov/2026:18:24:10 +0000"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z", "31/Dec/2099:23:59:59 +0000"),
        ];
        for (millis, json, apache) in cases {
            let time = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(written(|out| rfc3339(out, time)), json);
            assert_eq!(written(|out| common_log(out, time)), apache);
        }
    }

    #[test]
    fn durations_are_written_in_rounded_milliseconds() {
        for (nanos, expected) in [
            (0, "0.000"),
            (499, "0.000"),
            (500, "0.001"),
            (12_500_000, "12.500"),
            (999_999_500, "1000.000"),
            (5_007_003_000_000, "5007003.000"),
        ] {
            assert_eq!(written(|out| milliseconds(out, Duration::from_nanos(nanos))), expected);
        }
    }

    #[test]
    fn what_is_displayed_is_escaped_where_it_must_be() {
        assert_eq!(written(|out| json_displayed(out, "shop/carts:80")), "\"shop/carts:80\"");
        assert_eq!(written(|out| json_displayed(out, "a\"b\né")), "\"a\\\"b\\né\"");
    }

    #[test]
    fn hostile_bytes_are_written_as_escapes() {
        let hostile = b"a\"b\\c\r\nd\x00\x1b[31m\x7f\xff\xc3\xa9\xc2\x85\xe2\x80\xa8\xe2\x80\xae";
        assert_eq!(
            written(|out| json(out, hostile)),
            "\"a\\\"b\\\\c\\r\\nd\\u0000\\u001b[31m\\u007f\u{fffd}é\\u0085\\u2028\\u202e\""
        );
        assert_eq!(
            written(|out| apache(out, hostile)),
            "a\\\"b\\\\c\\r\\nd\\x00\\x1b[31m\\x7f\\xff\\xc3\\xa9\\xc2\\x85\\xe2\\x80\\xa8\\xe2\\x80\\xae"
        );
    }

    proptest! {
        #[test]
        fn json_reads_back_and_neither_form_has_a_control_byte(value in prop::collection::vec(any::<u8>(), 0..60)) {
            let text = written(|out| json(out, &value));
            let read: String = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&value));
            prop_assert!(!text.chars().any(char::is_control));
            let text = written(|out| apache(out, &value));
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(!text.replace("\\\\", "").replace("\\\"", "").contains('"'));
        }
    }
}
