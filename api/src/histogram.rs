//! The one log-linear histogram layout (mesh.proto `Histogram`), as plain data.
//!
//! Proxies record into atomic cells of the same layout (`minimesh-runtime`) and report sparse copies; the control plane and
//! the CLI add, subtract and ask for percentiles. Values are microseconds, but nothing here depends on it.

/// Sub-buckets per power of two: the width of a bucket is 1/16 of its lower bound, so its middle is within 3.2 %.
const SUB: u64 = 16;

/// Buckets cover values up to 2^36 - 1 microseconds (19 hours); larger ones count in the last bucket.
pub const BUCKETS: usize = (36 - 4) * SUB as usize + SUB as usize;

/// Bucket of a value.
pub fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let exponent = 63 - u64::from(value.leading_zeros());
    let index = (exponent - 3) * SUB + ((value >> (exponent - 4)) & (SUB - 1));
    (index as usize).min(BUCKETS - 1)
}

/// Smallest value of a bucket.
pub fn lower_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let exponent = bucket / SUB + 3;
    (1 << exponent) + ((bucket % SUB) << (exponent - 4))
}

/// Sparse counts in the layout: ascending `(bucket, count)` without zeros, and the exact sum of the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<(u32, u64)>,
    sum: u64,
}

impl Histogram {
    /// From `(bucket, count)` pairs in any order; zeros are dropped, equal buckets added, buckets beyond the layout counted
    /// in the last one.
    pub fn from_counts(counts: impl IntoIterator<Item = (u32, u64)>, sum: u64) -> Histogram {
        let mut counts: Vec<(u32, u64)> = counts.into_iter().map(|(b, n)| (b.min(BUCKETS as u32 - 1), n)).collect();
        counts.sort_unstable_by_key(|(bucket, _)| *bucket);
        let mut merged: Vec<(u32, u64)> = Vec::with_capacity(counts.len());
        for (bucket, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            match merged.last_mut() {
                Some((last, total)) if *last == bucket => *total = total.saturating_add(count),
                _ => merged.push((bucket, count)),
            }
        }
        Histogram { counts: merged, sum }
    }

    /// Ascending `(bucket, count)` pairs.
    pub fn counts(&self) -> &[(u32, u64)] {
        &self.counts
    }

    /// Exact sum of the values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |total, (_, count)| total.saturating_add(*count))
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Histogram) {
        let pairs = self.counts.iter().chain(&other.counts).copied();
        *self = Histogram::from_counts(pairs, self.sum.saturating_add(other.sum));
    }

    /// What was added since `earlier`; a bucket that went down counts as zero.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let mut old = earlier.counts.iter().copied().peekable();
        let counts = self.counts.iter().map(|&(bucket, count)| {
            while old.next_if(|(b, _)| *b < bucket).is_some() {}
            let before = old.next_if(|(b, _)| *b == bucket).map_or(0, |(_, n)| n);
            (bucket, count.saturating_sub(before))
        });
        Histogram::from_counts(counts, self.sum.saturating_sub(earlier.sum))
    }

    /// The value below which a share `quantile` (0 to 1) of the values lies, at its bucket's middle; `None` when empty.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, count) in &self.counts {
            seen = u64::saturating_add(seen, count);
            if seen >= rank {
                let low = lower_bound(bucket as usize);
                let high = lower_bound(bucket as usize + 1);
                return Some((low + high - 1) as f64 / 2.0);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_buckets_agree() {
        for b in 0..BUCKETS {
            assert_eq!(bucket(lower_bound(b)), b);
            assert_eq!(bucket(lower_bound(b + 1) - 1), b);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_within_five_percent() {
        for value in [1u64, 17, 999, 12_345, 7_654_321] {
            let h = Histogram::from_counts([(bucket(value) as u32, 1)], value);
            let error = (h.quantile(0.5).expect("one value") - value as f64).abs() / value as f64;
            assert!(error <= 0.05, "{value}: {error}");
        }
    }

    #[test]
    fn since_undoes_add() {
        let a = Histogram::from_counts([(3, 2), (40, 7)], 300);
        let b = Histogram::from_counts([(1, 1), (40, 2), (90, 5)], 900);
        let mut sum = a.clone();
        sum.add(&b);
        assert_eq!(sum.since(&a), b);
        assert_eq!(sum.count(), 17);
    }
}
