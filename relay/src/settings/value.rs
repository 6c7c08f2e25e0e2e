//! Values as a file writes them, each with its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

/// The entries of a table, by key.
pub(super) type Table = BTreeMap<String, Entry>;

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key_place: Place,
    pub(super) node: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string of the file.
    Text(String),
    /// Text of a variable or an argument, which has no types: it is read as what its key needs.
    Plain(String),
    Integer(i64),
    Float(String),
    Boolean(bool),
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What it is, for "expected a string, found …".
    pub(super) fn what(&self) -> String {
        match self {
            Self::Text(text) | Self::Plain(text) => format!("the string {text:?}"),
            Self::Integer(number) => format!("the integer {number}"),
            Self::Float(number) => format!("the number {number}"),
            Self::Boolean(value) => format!("{value}"),
            Self::Date(date) => format!("the date {date}"),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }

    /// The entries, if it is a table.
    pub(super) fn as_table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            Self::Text(_)
            | Self::Plain(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::Boolean(_)
            | Self::Date(_)
            | Self::List(_) => None,
        }
    }

    /// A table or a list of tables: what a header opens.
    pub(super) fn is_table_like(&self) -> bool {
        match self {
            Self::Table(_) => true,
            Self::List(nodes) => nodes.iter().any(|node| node.value.is_table_like()),
            Self::Text(_)
            | Self::Plain(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::Boolean(_)
            | Self::Date(_) => false,
        }
    }
}

/// Reads `text`, which `file` holds.
pub(super) fn parse_text(file: &Arc<Path>, text: &str) -> Result<Table, Problem> {
    // Editors of another system put a byte order mark in front; it is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines { file, text };
    match DeTable::parse(text) {
        Ok(root) => Ok(lines.table(root.into_inner())),
        Err(error) => {
            let place = match error.span() {
                Some(span) => lines.place(span.start),
                None => Place::File(file.clone()),
            };
            Err(Problem::new(
                place,
                "",
                format!("not TOML: {}", error.message()),
            ))
        }
    }
}

/// Turns spans of a text into lines and columns.
struct Lines<'t> {
    file: &'t Arc<Path>,
    text: &'t str,
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
        }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        table
            .into_iter()
            .map(|(key, value)| {
                let key_place = self.place(key.span().start);
                let entry = Entry {
                    key_place,
                    node: self.node(value),
                };
                (key.into_inner().into_owned(), entry)
            })
            .collect()
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Integer(number),
                    // Beyond 64 bits: reported as whatever its key needs instead.
                    Err(_) => Value::Float(number.to_string()),
                }
            }
            DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(values) => {
                Value::List(values.into_iter().map(|value| self.node(value)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { place, value }
    }
}
