//! The backends of a table, and the weighted choice among a rule's.

use std::collections::HashMap;

use minimesh_api::model::BackendRef;

/// Every distinct backend once, by a dense index.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) list: Vec<BackendRef>,
    indexes: HashMap<BackendRef, usize>,
}

impl Registry {
    pub(crate) fn index(&mut self, reference: &BackendRef) -> usize {
        *self.indexes.entry(reference.clone()).or_insert_with(|| {
            self.list.push(reference.clone());
            self.list.len() - 1
        })
    }
}

/// Cumulated weights. A draw is one multiplication and one binary search.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// `cumulated[i]` = sum of the weights up to and including `i`: 2³² backends of the largest weight still fit.
    cumulated: Box<[u64]>,
}

impl Weights {
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Weights {
        let sums = weights.scan(0u64, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Weights { cumulated: sums.collect() }
    }

    /// The index that `random`, uniform over all of `u64`, falls on; never one whose weight is 0. `None`: all are 0.
    pub(crate) fn pick(&self, random: u64) -> Option<usize> {
        let total = self.cumulated.last().copied().filter(|total| *total > 0)?;
        // scaled without a modulo: bias below total / 2⁶⁴
        let point = (u128::from(random) * u128::from(total)) >> 64;
        Some(self.cumulated.partition_point(|sum| u128::from(*sum) <= point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(list: &[u32]) -> Weights {
        Weights::new(list.iter().copied())
    }

    #[test]
    fn nothing_to_pick() {
        assert_eq!(weights(&[]).pick(0), None);
        assert_eq!(weights(&[0, 0]).pick(u64::MAX), None);
    }

    #[test]
    fn a_single_backend_gets_everything() {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            assert_eq!(weights(&[1]).pick(random), Some(0));
            assert_eq!(weights(&[0, 7, 0]).pick(random), Some(1));
        }
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let large = weights(&[u32::MAX; 1000]);
        assert_eq!(large.pick(0), Some(0));
        assert_eq!(large.pick(u64::MAX), Some(999));
    }
}
