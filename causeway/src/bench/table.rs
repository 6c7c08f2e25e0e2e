//! What is printed: a table for people, which is also Markdown, and a document for scripts.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::conditions::Conditions;
use super::figures::{Figure, Figures, Streams};
use super::load::{BESIDE, CALLERS, STALLED, Way};
use super::plan::{Path, Plan};

/// The table, and under what conditions it was made.
pub(super) fn text(plan: &Plan, conditions: &Conditions, figures: &Figures) -> String {
    let mut rows = vec![header(plan)];
    for figure in Figure::ALL {
        let mut row = vec![label(figure, plan), unit(figure).to_owned()];
        row.extend(plan.paths.iter().map(|path| cell(figures, *path, figure)));
        rows.push(row);
    }
    format!(
        "{conditions}\n{}\n\n{}\n",
        aligned(&rows),
        "In brackets: divided by the one TCP hop. A dash: nothing lies between caller and origin \
         that could be measured, or it says nothing."
    )
}

/// One document with each round's figures.
pub(super) fn json(plan: &Plan, conditions: &Conditions, figures: &Figures) -> Value {
    let path = |path: &Path| {
        let measured: Map<String, Value> = Figure::ALL
            .into_iter()
            .filter_map(|figure| {
                let median = figures.median(*path, figure)?;
                let value = json!({
                    "median": median,
                    "to_hop": figures.to_hop(*path, figure),
                    "rounds": figures.rounds(*path, figure),
                });
                Some((figure.name(), value))
            })
            .collect();
        json!({"path": path.name(), "figures": measured})
    };
    json!({
        "conditions": conditions.json(),
        "rounds": plan.rounds,
        "duration_s": plan.duration.as_secs_f64(),
        "idle_streams": plan.idle_streams,
        "idle_streams_asked_for": plan.asked_for.unwrap_or(plan.idle_streams),
        "paths": plan.paths.iter().map(path).collect::<Vec<_>>(),
    })
}

fn header(plan: &Plan) -> Vec<String> {
    let titles = plan.paths.iter().map(|path| path.title().to_owned());
    let rounds = match plan.rounds {
        1 => "one round".to_owned(),
        rounds => format!("median of {rounds}"),
    };
    [rounds, String::new()].into_iter().chain(titles).collect()
}

/// What is said of bulk while and after it is measured.
pub(super) fn throughput_label(way: Way, streams: Streams) -> String {
    let way = match way {
        Way::ToCompute => "to compute",
        Way::ToControl => "to control",
    };
    match streams {
        Streams::One => format!("{way}, 1 stream"),
        Streams::Many | Streams::Crowd => format!("{way}, {} streams", streams.count()),
    }
}

fn label(figure: Figure, plan: &Plan) -> String {
    match figure {
        Figure::Throughput(way, streams) => throughput_label(way, streams),
        Figure::Cpu(..) => "- its CPU".to_owned(),
        Figure::ConnectionsPerSecond => format!("connections, {CALLERS} at once"),
        Figure::PingP50 => "ping, p50".to_owned(),
        Figure::PingP99 => "ping, p99".to_owned(),
        Figure::LoadedPingP50 => format!("ping + {BESIDE} bulk, p50"),
        Figure::LoadedPingP99 => format!("ping + {BESIDE} bulk, p99"),
        Figure::LoadBesidePing => format!("- those {BESIDE}, to control"),
        Figure::StalledPingP50 => format!("ping + {STALLED} that never read, p50"),
        Figure::StalledPingP99 => format!("ping + {STALLED} that never read, p99"),
        Figure::IdleStreamKib => format!("memory of an idle stream ({})", plan.idle_streams),
        Figure::IdleFleetingKib => "- of one that does not resume".to_owned(),
        Figure::Fleeting(way, streams) => format!("{}, no resume", throughput_label(way, streams)),
        Figure::ResumableToFleeting(..) => "- resumable ÷ that".to_owned(),
        Figure::ResumableCpuToFleeting(..) => "- its CPU ÷ that's".to_owned(),
    }
}

fn unit(figure: Figure) -> &'static str {
    match figure {
        Figure::Throughput(..) | Figure::LoadBesidePing | Figure::Fleeting(..) => "Gbit/s",
        Figure::Cpu(..) => "s/GB",
        Figure::ConnectionsPerSecond => "1/s",
        Figure::PingP50
        | Figure::PingP99
        | Figure::LoadedPingP50
        | Figure::LoadedPingP99
        | Figure::StalledPingP50
        | Figure::StalledPingP99 => "µs",
        Figure::IdleStreamKib | Figure::IdleFleetingKib => "KiB",
        Figure::ResumableToFleeting(..) | Figure::ResumableCpuToFleeting(..) => "",
    }
}

fn cell(figures: &Figures, path: Path, figure: Figure) -> String {
    let Some(median) = figures.median(path, figure) else {
        return "-".to_owned();
    };
    match (path, figures.to_hop(path, figure)) {
        (Path::Direct | Path::Tunnel(_), Some(ratio)) => {
            format!("{} ({})", shown(median), shown(ratio))
        }
        (Path::Hop, _) | (Path::Direct | Path::Tunnel(_), None) => shown(median),
    }
}

/// With as many digits as say something.
fn shown(value: f64) -> String {
    let digits = usize::from(value < 100.0) + usize::from(value < 10.0);
    format!("{value:.digits$}")
}

/// A table in Markdown, its first two columns to the left, all others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut lines = Vec::new();
    for row in rows {
        let mut line = String::from("|");
        for (column, (text, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 | 1 => write!(line, " {text:<width$} |"),
                _ => write!(line, " {text:>width$} |"),
            };
        }
        lines.push(line);
    }
    let rule = widths
        .iter()
        .enumerate()
        .fold(String::from("|"), |rule, (column, width)| {
            let end = if column < 2 { '-' } else { ':' };
            format!("{rule} {}{end} |", "-".repeat(width.saturating_sub(1)))
        });
    lines.insert(1, rule);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tunnel_client::config::Transport;

    use super::*;

    fn measured() -> (Plan, Conditions, Figures) {
        let plan = Plan::new(&[Transport::Tls], 3, Duration::from_secs(1), 4000, 4096).unwrap();
        let mut figures = Figures::new();
        figures.add(Path::Hop, Figure::PingP50, 100.0);
        figures.add(Path::Tunnel(Transport::Tls), Figure::PingP50, 125.0);
        figures.add(Path::Tunnel(Transport::Tls), Figure::IdleStreamKib, 9.25);
        (plan, Conditions::now(), figures)
    }

    #[test]
    fn the_table_shows_medians_with_ratios_to_the_hop() {
        let (plan, conditions, figures) = measured();
        let text = text(&plan, &conditions, &figures);
        let row = |label: &str| {
            let line = text.lines().find(|line| line.contains(label));
            let cells = line.unwrap().split('|').map(str::trim);
            cells.skip(2).collect::<Vec<_>>()
        };
        assert_eq!(
            row("median of 3"),
            ["", "direct TCP", "one TCP hop", "tls", ""]
        );
        assert_eq!(row("ping, p50"), ["µs", "-", "100", "125 (1.25)", ""]);
        assert_eq!(
            row("memory of an idle stream (3840)"),
            ["KiB", "-", "-", "9.25", ""]
        );
        let table = text.lines().filter(|line| line.starts_with('|'));
        let widths: Vec<_> = table.map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 2 + Figure::ALL.len());
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn the_document_has_what_the_table_has_and_each_round() {
        let (plan, conditions, figures) = measured();
        let document = json(&plan, &conditions, &figures);
        let tls = &document["paths"][2];
        assert_eq!(tls["path"], "tls");
        let ping = &tls["figures"]["ping_p50_us"];
        assert_eq!(ping["median"], 125.0);
        assert_eq!(ping["to_hop"], 1.25);
        assert_eq!(ping["rounds"], json!([125.0]));
        assert_eq!(document["idle_streams"], 3840);
        assert_eq!(document["idle_streams_asked_for"], 4000);
        assert!(tls["figures"]["connections_per_s"].is_null());
    }
}
