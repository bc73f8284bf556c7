//! Medians, and how far the rounds were apart.

use serde::Serialize;

/// The middle of some values, and their ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
}

/// `None` without a value.
pub(crate) fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = count / 2;
    let median = if count.is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    };
    Some(Spread {
        median,
        min,
        max,
        count,
    })
}
