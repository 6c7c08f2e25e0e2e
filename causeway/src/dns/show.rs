//! Plans and rounds, for people.

use std::fmt::Write;

use super::answer::{Change, Failed, Foreign, Held, Name, Plan, Set, State};
use crate::status::{Table, printable};

/// What would be changed, name by name, and what would not, and why.
pub(super) fn plan(plan: &Plan) -> String {
    let mut text = format!(
        "{} ({}): {} to change, {} held back, {} of others\n",
        printable(&plan.zone),
        printable(&plan.provider),
        plan.changes.len(),
        plan.held.len(),
        plan.foreign.len()
    );
    let mut changes = Table::new(&["act", "name", "type", "from", "to"]);
    for Change { act, name, sets } in &plan.changes {
        for set in sets {
            // The record that says whose the name is goes with it.
            if set.name == *name {
                let (from, to) = (records(set.from.as_ref()), records(set.to.as_ref()));
                changes.row(vec![act.clone(), name.clone(), set.kind.clone(), from, to]);
            }
        }
    }
    section(&mut text, "to change", plan.changes.len(), &changes);
    held(&mut text, &plan.held);
    let mut foreign = Table::new(&["name", "why"]);
    for Foreign { name, why } in &plan.foreign {
        foreign.row(vec![name.clone(), why.clone()]);
    }
    section(
        &mut text,
        "of others, left as they are",
        plan.foreign.len(),
        &foreign,
    );
    let mut failed = Table::new(&["name", "why"]);
    for Failed { name, why } in &plan.failed {
        failed.row(vec![name.clone(), why.clone().unwrap_or_default()]);
    }
    section(
        &mut text,
        "failed the last time",
        plan.failed.len(),
        &failed,
    );
    text
}

/// Records as in a zone file: `-` is there and should not be, `+` should be there and is not. If there
/// are none, a comment that says so.
pub(super) fn diff(plan: &Plan) -> String {
    if plan.is_empty() {
        let (zone, provider) = (printable(&plan.zone), printable(&plan.provider));
        return format!("; {zone} ({provider}): no difference\n");
    }
    let mut text = String::new();
    for set in plan.changes.iter().flat_map(|change| &change.sets) {
        let lines = |set: Option<&Set>| -> Vec<(u32, String)> {
            let set = set.map(|set| (set.ttl, &set.data));
            let set = set.into_iter();
            set.flat_map(|(ttl, data)| data.iter().map(move |data| (ttl, data.clone())))
                .collect()
        };
        let (from, to) = (lines(set.from.as_ref()), lines(set.to.as_ref()));
        let mut line = |sign: char, (ttl, data): &(u32, String)| {
            let (name, kind, data) = (printable(&set.name), printable(&set.kind), printable(data));
            let quote = if kind == "TXT" { "\"" } else { "" };
            let _ = writeln!(text, "{sign} {name} {ttl} IN {kind} {quote}{data}{quote}");
        };
        from.iter()
            .filter(|record| !to.contains(record))
            .for_each(|record| line('-', record));
        to.iter()
            .filter(|record| !from.contains(record))
            .for_each(|record| line('+', record));
    }
    for held in &plan.held {
        let (name, why) = (printable(&held.name), printable(&why_held(held)));
        let _ = writeln!(text, "; {name} is to go: {why}");
    }
    for Foreign { name, why } in &plan.foreign {
        let (name, why) = (printable(name), printable(why));
        let _ = writeln!(text, "; {name} is another's: {why}");
    }
    for Failed { name, why } in &plan.failed {
        let why = why.as_deref().unwrap_or_default();
        let _ = writeln!(text, "; {} failed: {}", printable(name), printable(why));
    }
    text
}

/// What the round that was asked for has done, and how the zone stands after it.
pub(super) fn applied(state: &State) -> String {
    let mut text = format!(
        "{} ({})",
        printable(&state.zone),
        printable(&state.provider)
    );
    let Some(round) = &state.last_round else {
        text.push_str(": no round has ended yet\n");
        return text;
    };
    if let Some(serial) = state.serial.filter(|_| round.has_read()) {
        let _ = write!(text, ", serial {serial}");
    }
    let _ = writeln!(
        text,
        ": round {} in {:.0} ms: {} added, {} updated, {} repaired, {} removed, {} overtaken, {} failed",
        printable(&round.outcome),
        round.took_ms,
        round.added,
        round.updated,
        round.repaired,
        round.removed,
        round.overtaken,
        round.failed
    );
    if let Some(message) = &round.message {
        let _ = writeln!(text, "  {}", printable(message));
    }
    let (in_sync, all) = (state.in_sync(), state.names.len());
    if round.has_read() {
        let _ = writeln!(text, "{in_sync} of {all} names in sync");
        not_in_sync(&mut text, &state.names);
        held(&mut text, &state.held);
    } else if let Some(then) = &state.last_read {
        let serial = state
            .serial
            .map(|serial| format!(", with the serial {serial}"));
        let _ = writeln!(
            text,
            "nothing newer is known than of {}{}: then {in_sync} of {all} names were in sync",
            printable(then),
            serial.unwrap_or_default(),
        );
    }
    text
}

fn not_in_sync(text: &mut String, names: &[Name]) {
    let mut table = Table::new(&["name", "for", "state", "why"]);
    let mut count = 0;
    for Name {
        name,
        purpose,
        state,
        why,
    } in names.iter().filter(|name| !name.is_in_sync())
    {
        count += 1;
        let why = why.clone().unwrap_or_default();
        table.row(vec![name.clone(), purpose.clone(), state.clone(), why]);
    }
    section(text, "not in sync", count, &table);
}

fn held(text: &mut String, held: &[Held]) {
    let mut table = Table::new(&["name", "for", "what", "why"]);
    for held in held {
        let what = match held.records.as_slice() {
            [] => "the name".to_owned(),
            records => records.join(", "),
        };
        table.row(vec![
            held.name.clone(),
            held.purpose.clone(),
            what,
            why_held(held),
        ]);
    }
    section(text, "to go, but held back", held.len(), &table);
}

fn why_held(held: &Held) -> String {
    match &held.until {
        Some(until) => format!("{}, until {until}", held.because),
        None => held.because.clone(),
    }
}

fn section(text: &mut String, heading: &str, rows: usize, table: &Table) {
    if rows > 0 {
        let _ = write!(text, "\n{heading}:\n{}", table.render("  "));
    }
}

fn records(set: Option<&Set>) -> String {
    set.map_or_else(
        || "none".to_owned(),
        |set| format!("{} ({} s)", set.data.join(", "), set.ttl),
    )
}
