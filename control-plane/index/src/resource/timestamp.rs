//! Kubernetes' times: RFC 3339 with second precision. Compared, never measured against a clock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// The text is not an RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as 2026-01-31T12:00:00Z")]
pub struct NotATimestamp;

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let (date_time, offset) = split_offset(text).ok_or(NotATimestamp)?;
        let (date, time) = date_time.split_once(['T', 't', ' ']).ok_or(NotATimestamp)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2]).ok_or(NotATimestamp)?;
        let whole_seconds = match time.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) => whole,
            Some(_) => return Err(NotATimestamp),
            None => time,
        };
        let [hour, minute, second] = numbers(whole_seconds, ':', [2, 2, 2]).ok_or(NotATimestamp)?;
        let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
        if !in_range {
            return Err(NotATimestamp);
        }
        Ok(Self(days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(86_400));
        let second = self.0.rem_euclid(86_400);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|fault| de::Error::custom(format_args!("{text:?} is {fault}")))
    }
}

/// The time without its offset, and the offset in seconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(utc) = text.strip_suffix(['Z', 'z']) {
        return Some((utc, 0));
    }
    let at = text.len().checked_sub(6).filter(|&at| text.is_char_boundary(at))?;
    let (date_time, offset) = text.split_at(at);
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hours, minutes] = numbers(&offset[1..], ':', [2, 2])?;
    Some((date_time, sign * (hours * 3_600 + minutes * 60)))
}

fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut values = [0; N];
    for (value, width) in values.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *value = part.parse().ok()?;
    }
    parts.next().is_none().then_some(values)
}

// Days since the epoch and back, for the Gregorian calendar with years that begin in March, so that a leap day is a year's
// last day (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_and_people_write() {
        let at = |text: &str| text.parse::<Timestamp>();
        assert_eq!(at("1970-01-01T00:00:00Z"), Ok(Timestamp(0)));
        assert_eq!(at("2026-11-22T15:34:13Z"), Ok(Timestamp(1_795_361_653)));
        assert_eq!(at("2026-11-22T16:34:13.123456+01:00"), Ok(Timestamp(1_795_361_653)));
        assert_eq!(at("2024-02-29T00:00:00Z").map(|t| t.0 % 86_400), Ok(0));
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "Z", "2026-11-22", "2026-11-22T15:34Z", "2026-13-01T00:00:00Z", "yesterday at noo", "é+01:00"]
        {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATimestamp), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in -62_000_000_000_i64..250_000_000_000) {
            let time = Timestamp(seconds);
            proptest::prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
