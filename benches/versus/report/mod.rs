//! What was measured, for people (Markdown, a plot) and for programs (JSON).

mod figures;
mod markdown;
mod svg;

use std::fs;
use std::path::Path;

use crate::cells::Cell;
use crate::fault::{Fault, While};
use crate::load::Outcome;
use crate::rounds::{Run, Sample};

use self::figures::Measure;

/// One line while the run goes on.
pub(crate) fn line(sample: &Sample, cell: &Cell) -> String {
    let head = format!(
        "round {} {:<17} {:<14}",
        sample.round + 1,
        cell.name,
        sample.subject
    );
    if let Some(trouble) = sample.trouble() {
        return format!("{head} ERRORS {trouble}");
    }
    let Some(outcome) = sample.good() else {
        return head;
    };
    let unit = cell.kind.unit();
    let foreign = Measure::Foreign.of(outcome, cell).unwrap_or_default();
    let mut text = format!(
        "{head} {:>9.1} {:<6} proxy {} system {} {}, foreign {foreign:.0} %",
        Measure::Rate.of(outcome, cell).unwrap_or_default(),
        unit.rate,
        shown(Measure::Proxy.of(outcome, cell)),
        shown(Measure::System.of(outcome, cell)),
        unit.cpu,
    );
    text += &extra(outcome, cell);
    text
}

fn extra(outcome: &Outcome, cell: &Cell) -> String {
    if let Some(bytes) = Measure::MemoryEach.of(outcome, cell) {
        return format!(", {bytes:.0} B/conn");
    }
    let latency = outcome.latency.map(|it| format!(", p50 {:.0} us", it.p50));
    latency.unwrap_or_default()
}

/// The tables that a terminal shows at the end.
pub(crate) fn summary(run: &Run) -> String {
    markdown::ratios(run)
}

/// `versus.md`, `versus.json` and `versus.svg`.
pub(crate) fn write(run: &Run, folder: &Path) -> Result<(), Fault> {
    fs::create_dir_all(folder).doing(|| folder.display().to_string())?;
    let json = serde_json::to_string_pretty(run)?;
    let files = [
        ("versus.md", markdown::write(run)),
        ("versus.json", json + "\n"),
        ("versus.svg", svg::write(run)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).doing(|| path.display().to_string())?;
    }
    Ok(())
}

/// Three digits that matter, or a dash.
fn shown(value: Option<f64>) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
