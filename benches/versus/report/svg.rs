//! The plot: a bar for each subject in each cell, as long as its CPU per unit
//! relative to the base. Left the balancer alone, right the whole system.

use std::fmt::Write as _;

use crate::cells::{Cell, Kind};
use crate::rounds::Run;
use crate::stats::Spread;
use crate::subjects::Subject;

use super::figures::Measure;

const BAR: f64 = 12.0;
const GAP: f64 = 10.0;
const LABELS: f64 = 130.0;
const PANEL: f64 = 420.0;
/// Room for the number behind a bar.
const NUMBER: f64 = 40.0;
const HEAD: f64 = 78.0;
const FOOT: f64 = 26.0;
/// Longer bars are cut, and their number says how long they would be.
const LONGEST: f64 = 2.5;

/// Told apart also by those who see less colour, and in print by their order.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#e69f00", "#009e73", "#999999", "#555555", "#cc79a7", "#56b4e9",
];

pub(super) fn write(run: &Run) -> String {
    let Some(base) = run.bases().first().copied() else {
        return String::new();
    };
    let cells: Vec<&Cell> = run.cells.iter().filter(|it| has_ratio(it)).collect();
    let plot = Plot { run, base };
    let mut y = HEAD;
    let mut body = String::new();
    for cell in cells {
        let height = plot.row(&mut body, cell, y);
        y += height;
    }
    let width = LABELS + 2.0 * (PANEL + NUMBER) + 10.0;
    let height = y + FOOT;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text += &plot.head();
    text += &plot.grid(y);
    text += &body;
    text += "</svg>\n";
    text
}

/// Memory is in a table of its own.
fn has_ratio(cell: &Cell) -> bool {
    !matches!(cell.kind, Kind::Idle { .. })
}

struct Plot<'a> {
    run: &'a Run,
    base: &'a Subject,
}

impl Plot<'_> {
    fn others(&self) -> impl Iterator<Item = (&Subject, &'static str)> {
        let others = self.run.subjects.iter().filter(|it| *it != self.base);
        others.zip(COLOURS.iter().copied().cycle())
    }

    fn head(&self) -> String {
        let mut text = label(LABELS, 18.0, "start", "#000000", &self.title());
        let mut x = LABELS;
        for (subject, colour) in self.others() {
            text += &rectangle(x, 29.0, 10.0, 10.0, colour);
            text += &label(x + 14.0, 38.0, "start", "#000000", &subject.name);
            x += 14.0 + 7.0 * subject.name.len() as f64 + 18.0;
        }
        for (panel, what) in ["CPU of the balancer", "CPU of the whole system"]
            .iter()
            .enumerate()
        {
            text += &label(left_edge(panel), 56.0, "start", "#000000", what);
        }
        text
    }

    fn title(&self) -> String {
        let machine = &self.run.machine;
        format!(
            "CPU per unit relative to {} (lower is better; whiskers: smallest and largest of {} rounds). {}, kernel {}",
            self.base.name, self.run.rounds_done, machine.date, machine.kernel
        )
    }

    /// Lines at every half, a stronger one where the base is.
    fn grid(&self, bottom: f64) -> String {
        let mut text = String::new();
        for panel in 0..2 {
            for half in 0..=5 {
                let value = f64::from(half) / 2.0;
                let x = left_edge(panel) + length(value);
                let (colour, width) = if half == 2 {
                    ("#000000", 1.2)
                } else {
                    ("#dddddd", 1.0)
                };
                text += &rule(x, HEAD - 6.0, x, bottom, colour, width);
                text += &label(x, HEAD - 9.0, "middle", "#666666", &format!("{value:.1}"));
            }
        }
        text
    }

    /// One cell in both panels; returns how high it was.
    fn row(&self, text: &mut String, cell: &Cell, top: f64) -> f64 {
        let mut y = top;
        for (subject, colour) in self.others() {
            let measures = [Measure::Proxy, Measure::System];
            let ratios = measures.map(|it| self.run.ratio(cell, subject, self.base, it));
            if ratios.iter().all(Option::is_none) {
                continue;
            }
            for (panel, ratio) in ratios.iter().enumerate() {
                if let Some(ratio) = ratio {
                    *text += &bar(left_edge(panel), y, *ratio, colour);
                }
            }
            y += BAR;
        }
        // Every subject failed: the name alone says so.
        y = y.max(top + BAR);
        let middle = f64::midpoint(top, y) + 4.0;
        *text += &label(LABELS - 8.0, middle, "end", "#000000", &cell.name);
        y + GAP - top
    }
}

fn left_edge(panel: usize) -> f64 {
    LABELS + panel as f64 * (PANEL + NUMBER)
}

fn length(ratio: f64) -> f64 {
    ratio.min(LONGEST) / LONGEST * PANEL
}

fn bar(x: f64, y: f64, ratio: Spread, colour: &str) -> String {
    let end = length(ratio.median);
    let mut text = rectangle(x, y, end, BAR - 1.0, colour);
    let middle = y + BAR / 2.0 - 0.5;
    let (from, to) = (x + length(ratio.min), x + length(ratio.max));
    if ratio.count > 1 {
        text += &rule(from, middle, to, middle, "#000000", 1.0);
    }
    let after = to.max(x + end) + 3.0;
    let number = format!("{:.2}", ratio.median);
    text + &label(after, y + BAR - 1.0, "start", "#333333", &number)
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, colour: &str) -> String {
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n"
    )
}

fn rule(x1: f64, y1: f64, x2: f64, y2: f64, colour: &str, width: f64) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n"
    )
}

fn label(x: f64, y: f64, anchor: &str, colour: &str, said: &str) -> String {
    let mut safe = String::new();
    for letter in said.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            other => safe.push(other),
        }
    }
    let mut text = String::new();
    writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{safe}</text>"
    )
    .expect("writing to a String cannot fail");
    text
}
