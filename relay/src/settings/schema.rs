//! Which tables and keys a kind of file has: what finds unknown keys and maps variables to keys.

use super::document::Document;
use super::problem::{Place, Problem};
use super::value::{Table, Value};

/// The tables and keys that one kind of configuration file may have.
#[derive(Debug)]
pub struct Schema {
    /// What the file configures, with its article, as messages name it: "an edge", "a client".
    pub kind: &'static str,
    /// Every table; the one named "" holds the keys that stand in front of all tables.
    pub tables: &'static [TableSchema],
}

/// One table of a [`Schema`].
#[derive(Debug)]
pub struct TableSchema {
    /// The name in the header; "" for the keys in front of all headers. A table within another one,
    /// which is in the schema too and stands once, has the dotted name of its header: `dns.embedded`.
    pub name: &'static str,
    /// Whether it may stand several times: `[[name]]` instead of `[name]`.
    pub repeated: bool,
    /// Its keys, in groups so that tables can share some.
    pub keys: &'static [&'static [&'static str]],
}

/// The key in front of all tables that names more files.
pub(super) const INCLUDE: &str = "include";

impl Schema {
    /// Every table and key that the document has and the schema has not.
    pub(super) fn check(&self, document: &Document) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, entry) in document.root() {
            match self.table(name) {
                Some(table) => {
                    table.check(self, &entry.node.value, &entry.key_place, &mut problems)
                }
                None if name == INCLUDE || self.is_root_key(name) => {}
                None => problems.push(Problem::new(
                    entry.key_place.clone(),
                    name,
                    self.unknown_at_root(name, &entry.node.value),
                )),
            }
        }
        problems
    }

    /// The headers of the tables that have such a key, if any has.
    fn homes_of(&self, key: &str) -> Option<String> {
        let has = |table: &&TableSchema| !table.name.is_empty() && table.keys().any(|it| it == key);
        let homes: Vec<_> = self.tables.iter().filter(has).collect();
        let headers: Vec<_> = homes.into_iter().map(TableSchema::header).collect();
        (!headers.is_empty()).then(|| headers.join(" or "))
    }

    /// The table of this name; never the nameless one.
    pub(super) fn table(&self, name: &str) -> Option<&'static TableSchema> {
        self.tables
            .iter()
            .find(|table| !table.name.is_empty() && table.name == name)
    }

    /// Whether `table` has the key; "" asks for the keys in front of all tables.
    pub(super) fn has(&self, table: &str, key: &str) -> bool {
        self.tables
            .iter()
            .any(|known| known.name == table && known.keys().any(|name| name == key))
    }

    /// Every key as (table, key), tables that may be repeated included.
    pub fn keys(&self) -> impl Iterator<Item = (&'static TableSchema, &'static str)> {
        self.tables
            .iter()
            .flat_map(|table| table.keys().map(move |key| (table, key)))
    }

    fn is_root_key(&self, key: &str) -> bool {
        self.has("", key)
    }

    fn unknown_at_root(&self, name: &str, value: &Value) -> String {
        let headers = || {
            self.tables
                .iter()
                .filter(|table| !table.name.is_empty())
                .map(TableSchema::header)
                .collect::<Vec<_>>()
                .join(", ")
        };
        if value.is_table_like() {
            let near = nearest(name, self.tables.iter().map(|table| table.name));
            let meant = near.and_then(|near| self.table(near));
            return match meant {
                Some(table) => format!("unknown table; did you mean {}?", table.header()),
                None => format!("unknown table; {} has {}", self.kind, headers()),
            };
        }
        if let Some(homes) = self.homes_of(name) {
            return format!("this key belongs below {homes}");
        }
        let root = self.tables.iter().find(|table| table.name.is_empty());
        match nearest(name, root.into_iter().flat_map(TableSchema::keys)) {
            Some(near) => format!("unknown key; did you mean {near}?"),
            None => format!("unknown key; {} has the tables {}", self.kind, headers()),
        }
    }
}

impl TableSchema {
    /// The keys, all groups together.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().flat_map(|group| group.iter().copied())
    }

    /// As it stands in a file: `[name]` or `[[name]]`.
    pub fn header(&self) -> String {
        match (self.name, self.repeated) {
            ("", _) => "the top of the file, in front of all tables".to_owned(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }

    /// The last part of the name of each table within.
    fn tables_within(&self, schema: &Schema) -> impl Iterator<Item = &'static str> {
        let within = |table: &'static TableSchema| table.name.strip_prefix(self.name);
        let tables = schema.tables.iter().filter_map(within);
        tables.filter_map(|name| name.strip_prefix('.'))
    }

    fn check(&self, schema: &Schema, value: &Value, place: &Place, problems: &mut Vec<Problem>) {
        let header = self.header();
        match (value, self.repeated) {
            (Value::Table(table), false) => self.check_keys(schema, self.name, table, problems),
            (Value::List(nodes), true) => {
                for (index, node) in nodes.iter().enumerate() {
                    let path = format!("{}[{index}]", self.name);
                    match &node.value {
                        Value::Table(table) => self.check_keys(schema, &path, table, problems),
                        Value::Text(_)
                        | Value::Plain(_)
                        | Value::Integer(_)
                        | Value::Float(_)
                        | Value::Boolean(_)
                        | Value::Date(_)
                        | Value::List(_) => problems.push(Problem::new(
                            node.place.clone(),
                            path,
                            format!(
                                "expected a table, found {}; write {header}",
                                node.value.what()
                            ),
                        )),
                    }
                }
            }
            (other, _) => problems.push(Problem::new(
                place.clone(),
                self.name,
                match (other, self.repeated) {
                    (Value::Table(_), true) => format!("may stand several times: write {header}"),
                    (Value::List(_), false) => format!("may stand only once: write {header}"),
                    (other, _) => format!("expected the table {header}, found {}", other.what()),
                },
            )),
        }
    }

    fn check_keys(&self, schema: &Schema, path: &str, table: &Table, problems: &mut Vec<Problem>) {
        for (key, entry) in table {
            if self.keys().any(|known| known == key) {
                continue;
            }
            if let Some(within) = schema.table(&format!("{}.{key}", self.name)) {
                within.check(schema, &entry.node.value, &entry.key_place, problems);
                continue;
            }
            let near = nearest(key, self.keys().chain(self.tables_within(schema)));
            let message = match near {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => match schema.homes_of(key) {
                    Some(homes) => format!("unknown key; it belongs below {homes}"),
                    None => {
                        let known = self.keys().collect::<Vec<_>>().join(", ");
                        format!("unknown key; {} has {known}", self.header())
                    }
                },
            };
            problems.push(Problem::new(
                entry.key_place.clone(),
                format!("{path}.{key}"),
                message,
            ));
        }
    }
}

/// The candidate that `word` is most likely a slip of, if one is near enough.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .filter(|candidate| !candidate.is_empty())
        .map(|candidate| (distance(&word.to_lowercase(), candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many insertions, deletions, replacements and swaps of neighbours lie between two words
/// (the optimal string alignment distance).
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=one.len() {
        for j in 1..=other.len() {
            let replaced = usize::from(one[i - 1] != other[j - 1]);
            let mut best = (rows[i - 1][j - 1] + replaced)
                .min(rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let words = ["listen", "host", "kind", "allow", "anonymous", "name"];
        for (slip, meant) in [
            ("lisen", Some("listen")),
            ("Listen", Some("listen")),
            ("hots", Some("host")),
            ("anonimus", Some("anonymous")),
            ("nmae", Some("name")),
            ("password", None),
        ] {
            assert_eq!(nearest(slip, words.into_iter()), meant, "{slip}");
        }
    }
}
