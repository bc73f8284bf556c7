//! Weighted choice in two draws: an alias table in whole numbers.

use rand::{Rng, RngExt};

/// A table from which index `i` is drawn with a chance of `weight[i]` in the
/// sum of all weights, exactly.
#[derive(Clone, Debug, Default)]
pub(super) struct Alias {
    /// Per column: below this the column itself, from it on the other.
    columns: Vec<(u64, u32)>,
    total: u64,
}

impl Alias {
    /// The table for `weights`; all zero or empty gives a table that draws
    /// nothing.
    pub(super) fn new(weights: &[u32]) -> Self {
        let total: u64 = weights.iter().map(|&w| u64::from(w)).sum();
        if total == 0 {
            return Self::default();
        }
        let n = weights.len() as u64;
        // Each column holds `total` parts; index i has weight[i] * n parts.
        let mut parts: Vec<u64> = weights.iter().map(|&w| u64::from(w) * n).collect();
        let mut columns: Vec<(u64, u32)> = (0..weights.len())
            .map(|i| (total, u32::try_from(i).unwrap_or(u32::MAX)))
            .collect();
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&i| parts[i] < total);
        while let (Some(&from), Some(&to)) = (rich.last(), poor.last()) {
            poor.pop();
            columns[to] = (parts[to], u32::try_from(from).unwrap_or(u32::MAX));
            parts[from] -= total - parts[to];
            if parts[from] < total {
                rich.pop();
                poor.push(from);
            }
        }
        Self { columns, total }
    }

    /// One index.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<usize> {
        if self.columns.is_empty() {
            return None;
        }
        let column = rng.random_range(0..self.columns.len());
        let (own, other) = self.columns[column];
        if own == self.total || rng.random_range(0..self.total) < own {
            Some(column)
        } else {
            Some(other as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seed;

    /// The chance of each index, computed from the table, not drawn.
    fn chances(alias: &Alias, n: usize) -> Vec<u64> {
        let mut sums = vec![0; n];
        for (i, &(own, other)) in alias.columns.iter().enumerate() {
            sums[i] += own;
            sums[other as usize] += alias.total - own;
        }
        sums
    }

    #[test]
    fn the_table_is_exact() {
        for weights in [
            vec![1],
            vec![1, 0, 8, 1],
            vec![1000, 1, 1, 1],
            vec![0, 0, 7],
            vec![3; 200],
            (0..500).collect(),
        ] {
            let alias = Alias::new(&weights);
            let n = weights.len() as u64;
            let wanted: Vec<u64> = weights.iter().map(|&w| u64::from(w) * n).collect();
            assert_eq!(chances(&alias, weights.len()), wanted);
        }
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        assert_eq!(Alias::new(&[]).draw(&mut Seed(1).rng()), None);
        assert_eq!(Alias::new(&[0, 0]).draw(&mut Seed(1).rng()), None);
    }

    #[test]
    fn draws_follow_the_weights() {
        let weights = [10u32, 0, 80, 110];
        let alias = Alias::new(&weights);
        let mut rng = Seed(20_061_203).rng();
        let mut hits = [0u32; 4];
        let draws = 200_000;
        for _ in 0..draws {
            hits[alias.draw(&mut rng).unwrap()] += 1;
        }
        assert_eq!(hits[1], 0);
        let total: u32 = weights.iter().sum();
        let chi_square: f64 = weights
            .iter()
            .zip(hits)
            .filter(|&(&w, _)| w > 0)
            .map(|(&w, hit)| {
                let wanted = f64::from(draws) * f64::from(w) / f64::from(total);
                (f64::from(hit) - wanted).powi(2) / wanted
            })
            .sum();
        // Two degrees of freedom: 13.8 is passed by chance once in a thousand.
        assert!(chi_square < 13.8, "chi-square {chi_square}, hits {hits:?}");
    }
}
