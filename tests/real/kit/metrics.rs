//! The text that Prometheus reads, taken apart.

/// One scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    lines: Vec<(String, f64)>,
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|it| !it.starts_with('#'));
        let lines = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// The sum over all series of `name` whose labels contain every one of
    /// `labels`, like `pool="web"`; 0 when there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.matching(name, labels).map(|(_, value)| value).sum()
    }

    /// How many series there are.
    pub(crate) fn series(&self) -> usize {
        self.lines.len()
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.lines.iter().filter_map(move |(series, value)| {
            let (own, of) = series.split_once('{').unwrap_or((series, ""));
            let fits = own == name && labels.iter().all(|it| of.contains(it));
            fits.then_some((series.as_str(), *value))
        })
    }
}
