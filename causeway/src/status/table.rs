//! Text in columns, safe to print.

use std::fmt::Write;

/// Rows under headings. A column in which no row says anything is left out.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; its cells stand for the headings, in order.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows
            .push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// The lines, each after `indent`.
    pub(crate) fn render(&self, indent: &str) -> String {
        let columns: Vec<(usize, usize)> = (0..self.headings.len())
            .filter(|&column| self.rows.iter().any(|row| !row[column].is_empty()))
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                (
                    column,
                    cells
                        .chain([self.headings[column].len()])
                        .max()
                        .unwrap_or_default(),
                )
            })
            .collect();
        let headings: Vec<String> = self
            .headings
            .iter()
            .map(|text| text.to_uppercase())
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = indent.to_owned();
            for (column, width) in &columns {
                let _ = write!(line, "{:width$}  ", row[*column]);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Makes text from elsewhere safe for a terminal: control characters, and those that turn
/// the direction of writing, are shown as what they are.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_go() {
        let mut table = Table::new(&["peer", "rtt", "empty", "services"]);
        table.row(vec![
            "acme/demo".into(),
            "0.2 ms".into(),
            String::new(),
            "hello, db".into(),
        ]);
        table.row(vec![
            "umbrella/production-1".into(),
            String::new(),
            String::new(),
            String::new(),
        ]);
        assert_eq!(
            table.render("  "),
            "  PEER                   RTT     SERVICES\n\
             \x20 acme/demo              0.2 ms  hello, db\n\
             \x20 umbrella/production-1\n"
        );
    }

    #[test]
    fn a_peer_cannot_drive_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\u{202e}\n é →"),
            "a\\u{1b}[2Jb\\u{202e}\\u{a} é →"
        );
    }
}
