//! The report for people.

use std::fmt::Write as _;

use crate::cells::{Cell, Kind};
use crate::rounds::Run;
use crate::stats::{Spread, spread};
use crate::subjects::Subject;

use super::figures::Measure;
use super::shown;

pub(super) fn write(run: &Run) -> String {
    let mut text = String::from("# versus\n\n");
    text += &head(run);
    text += &ratios(run);
    text += &absolute(run);
    text += &latency(run);
    text += &wakes(run);
    text += &memory(run);
    text += &noise(run);
    text += &errors(run);
    text
}

/// One table for each base and measure.
pub(super) fn ratios(run: &Run) -> String {
    let mut text = String::new();
    for base in run.bases() {
        for (measure, what) in [
            (Measure::Proxy, "CPU of the balancer"),
            (Measure::System, "CPU of the whole system"),
        ] {
            if measure == Measure::Proxy && !base.kind.is_process() {
                continue;
            }
            let others = run.subjects.iter().filter(|it| *it != base);
            let others: Vec<&Subject> = others
                .filter(|it| it.kind.is_process() || measure == Measure::System)
                .collect();
            let title = format!("{what} per unit, relative to {}", base.name);
            text += &table(run, &title, &others, |cell, subject| {
                run.ratio(cell, subject, base, measure).map(ratio)
            });
        }
    }
    text
}

fn head(run: &Run) -> String {
    let machine = &run.machine;
    let mut text = format!(
        "{}. Kernel {}, {} x {}, {:.1} GiB, {} descriptors for each process.\n\
         {} of {} rounds, windows of {} s, pin {:?}; the bench was built as {}.\n\n\
         Command: `{}`\n\n",
        machine.date,
        machine.kernel,
        machine.cpus,
        machine.processor,
        machine.memory_gib,
        machine.descriptors,
        run.rounds_done,
        run.rounds_wanted,
        run.window_seconds,
        run.pin,
        machine.profile,
        machine.command,
    );
    for subject in &run.subjects {
        line(
            &mut text,
            &format!("- {}: {}", subject.name, subject.version),
        );
    }
    for (name, why) in &run.missing {
        line(&mut text, &format!("- {name}: **left out**: {why}"));
    }
    text.push_str(
        "\nRatios are medians of same-round ratios, with the smallest and the largest; \
         lower is better. CPU is the scheduler's count of nanoseconds. The whole system is \
         balancer, load, backend and kernel threads. Cells with errors have no figures and \
         are listed at the end.\n\n",
    );
    text
}

fn absolute(run: &Run) -> String {
    let subjects: Vec<&Subject> = run.subjects.iter().collect();
    let title = "Absolute: units per second / balancer's CPU / system's CPU per unit";
    table(run, title, &subjects, |cell, subject| {
        let median = |measure| run.figure(cell, subject, measure).map(|it| it.median);
        let rate = median(Measure::Rate)?;
        let unit = cell.kind.unit();
        Some(format!(
            "{} {} / {} / {} {}",
            shown(Some(rate)),
            unit.rate,
            shown(median(Measure::Proxy)),
            shown(median(Measure::System)),
            unit.cpu
        ))
    })
}

fn latency(run: &Run) -> String {
    let subjects: Vec<&Subject> = run.subjects.iter().collect();
    let title = "Latency in us: p50 / p99 / p999 (open loop: from the intended send time)";
    table(run, title, &subjects, |cell, subject| {
        let median = |measure| run.figure(cell, subject, measure).map(|it| it.median);
        let p50 = median(Measure::P50)?;
        Some(format!(
            "{} / {} / {}",
            shown(Some(p50)),
            shown(median(Measure::P99)),
            shown(median(Measure::P999))
        ))
    })
}

fn wakes(run: &Run) -> String {
    let balancers = run.subjects.iter().filter(|it| it.kind.is_process());
    let balancers: Vec<&Subject> = balancers.collect();
    let title = "How often the balancer was put on a CPU, per unit";
    table(run, title, &balancers, |cell, subject| {
        let figure = run.figure(cell, subject, Measure::Runs)?;
        Some(shown(Some(figure.median)))
    })
}

fn memory(run: &Run) -> String {
    let mut text = String::new();
    for cell in &run.cells {
        if let Kind::Idle { connected } = cell.kind {
            text += &memory_of(run, cell, connected);
        }
    }
    text
}

fn memory_of(run: &Run, cell: &Cell, connected: usize) -> String {
    let base = run.bases().first().copied();
    let base = base.filter(|it| it.kind.is_process());
    let beside = base.map_or("-", |it| it.name.as_str());
    let mut text = format!(
        "## Memory of {connected} idle connections\n\n\
         | | user bytes per connection | relative to {beside} | base, MiB | \
         kept after the close, MiB | kernel slab per connection | CPU ms per second |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for subject in run.subjects.iter().filter(|it| it.kind.is_process()) {
        let figure = |measure| run.figure(cell, subject, measure);
        let mib = |measure| figure(measure).map(|it| it.median / f64::from(1 << 20));
        // us per connection and second, times connections.
        let idle = figure(Measure::Proxy).map(|it| it.median * connected as f64 / 1e3);
        let beside = base.and_then(|it| run.ratio(cell, subject, it, Measure::MemoryEach));
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            subject.name,
            figure(Measure::MemoryEach).map_or_else(dash, absolute_range),
            beside.map_or_else(dash, ratio),
            shown(mib(Measure::MemoryBase)),
            shown(mib(Measure::MemoryKept)),
            shown(figure(Measure::SlabEach).map(|it| it.median)),
            shown(idle),
        );
        line(&mut text, &row);
    }
    text.push('\n');
    text
}

/// How much of the machine others used meanwhile.
fn noise(run: &Run) -> String {
    let mut text = String::from("## Noise: in percent of one CPU, over all cells\n\n");
    line(&mut text, "| | median | smallest | largest |");
    line(&mut text, "|---|---|---|---|");
    for (measure, what) in [
        (Measure::Foreign, "foreign processes"),
        (Measure::Stolen, "stolen by the hypervisor"),
    ] {
        let values = run.samples.iter().filter_map(|sample| {
            let cell = run.cells.iter().find(|it| it.name == sample.cell)?;
            measure.of(sample.good()?, cell)
        });
        if let Some(it) = spread(values.collect()) {
            let row = format!(
                "| {what} | {:.0} | {:.0} | {:.0} |",
                it.median, it.min, it.max
            );
            line(&mut text, &row);
        }
    }
    text.push('\n');
    text
}

fn errors(run: &Run) -> String {
    let mut text = String::from("## Errors\n\n");
    let mut any = false;
    for sample in &run.samples {
        if let Some(trouble) = sample.trouble() {
            any = true;
            let round = sample.round + 1;
            let head = format!("- {}, {}, round {round}", sample.subject, sample.cell);
            line(&mut text, &format!("{head}: {trouble}"));
        }
    }
    if !any {
        line(
            &mut text,
            "None: every byte and every answer was counted and compared.",
        );
    }
    text
}

/// A row for each cell that has at least one figure.
fn table(
    run: &Run,
    title: &str,
    subjects: &[&Subject],
    figure: impl Fn(&Cell, &Subject) -> Option<String>,
) -> String {
    let mut rows = String::new();
    // Idle connections are in a table of their own.
    let cells = run.cells.iter();
    for cell in cells.filter(|it| !matches!(it.kind, Kind::Idle { .. })) {
        let figures: Vec<Option<String>> = subjects.iter().map(|it| figure(cell, it)).collect();
        if figures.iter().all(Option::is_none) {
            continue;
        }
        let texts = figures.into_iter().map(|it| it.unwrap_or_else(dash));
        let texts: Vec<String> = texts.collect();
        line(
            &mut rows,
            &format!("| {} | {} |", cell.name, texts.join(" | ")),
        );
    }
    if rows.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = subjects.iter().map(|it| it.name.as_str()).collect();
    let rule = "---|".repeat(names.len() + 1);
    format!(
        "## {title}\n\n| | {} |\n|{rule}\n{rows}\n",
        names.join(" | ")
    )
}

fn ratio(it: Spread) -> String {
    if it.count == 1 {
        return format!("{:.2}", it.median);
    }
    format!("{:.2} ({:.2}-{:.2})", it.median, it.min, it.max)
}

fn absolute_range(it: Spread) -> String {
    format!("{:.0} ({:.0}-{:.0})", it.median, it.min, it.max)
}

fn dash() -> String {
    "-".to_owned()
}

fn line(text: &mut String, row: &str) {
    writeln!(text, "{row}").expect("writing to a String cannot fail");
}
