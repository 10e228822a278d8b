//! Order statistics: percentiles, medians, and how sure a median is.

/// The smallest value that at least this share of all values does not exceed (nearest rank). The values are sorted.
pub fn of_sorted<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// The middle, or the mean of the two middles.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Where the median of such values lies with 95 % confidence: the middle 95 % of the medians of as many values drawn from
/// these with replacement (percentile bootstrap). The draws are the same for the same values.
pub fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mut dice = SEED;
    let mut draw = || {
        dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        values[(mixed(dice) % values.len() as u64) as usize]
    };
    let mut medians: Vec<f64> = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let sample: Vec<f64> = values.iter().map(|_| draw()).collect();
        medians.extend(median(&sample));
    }
    medians.sort_by(f64::total_cmp);
    Some((of_sorted(&medians, 0.025)?, of_sorted(&medians, 0.975)?))
}

/// SplitMix64's output function.
fn mixed(state: u64) -> u64 {
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Enough that the interval's ends do not move when it is twice as many.
const DRAWS: usize = 10_000;
const SEED: u64 = 42;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values = [10, 20, 30, 40];
        assert_eq!(
            [0.0, 0.25, 0.26, 0.5, 0.99, 1.0].map(|share| of_sorted(&values, share).unwrap()),
            [10, 10, 20, 20, 40, 40]
        );
        assert_eq!(of_sorted::<u64>(&[], 0.5), None);
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_interval_of_equal_values_is_that_value() {
        assert_eq!(median_interval(&[0.7; 10]), Some((0.7, 0.7)));
        assert_eq!(median_interval(&[]), None);
    }

    #[test]
    fn the_interval_holds_the_median_and_shrinks_with_more_values() {
        let few: Vec<f64> = (0..10).map(f64::from).collect();
        let many: Vec<f64> = (0..100).map(|number| f64::from(number) / 10.0).collect();
        let (low, high) = median_interval(&few).unwrap();
        assert!(low < 4.5 && 4.5 < high, "{low} {high}");
        // the exact interval of ten values by the sign test is [1, 8]; the bootstrap's is close to it, and not wider
        assert!(low >= 1.0 && high <= 8.0, "{low} {high}");
        let (many_low, many_high) = median_interval(&many).unwrap();
        assert!(many_high - many_low < high - low, "{many_low} {many_high}");
        assert_eq!(median_interval(&few), median_interval(&few));
    }
}
