//! The reading of one document: hands out its tables and collects what is wrong with them.

use std::cell::RefCell;
use std::fmt::Display;

use super::address::ListenAddr;
use super::document::Document;
use super::problem::{Place, Problem, Problems};
use super::schema::Schema;
use super::section::Section;
use super::value::{Node, Value};

/// The reading of one document: hands out its tables and collects what is wrong with them.
///
/// ```text
/// Reading::begin → section("edge") → parsed("address"), duration("…"), … → finish(Some(config))
/// ```
///
/// Methods that find a problem record it and answer as if the key were not there, so that one pass finds as
/// many as it can; [`Reading::finish`] refuses the result if there was any.
#[derive(Debug)]
pub struct Reading<'d> {
    pub(super) document: &'d Document,
    pub(super) schema: &'static Schema,
    problems: RefCell<Vec<Problem>>,
}

/// A value and where it was stated.
#[derive(Clone, Debug)]
pub struct Stated<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
    /// The full path of its key.
    pub key: String,
}

impl<T> Stated<T> {
    /// The same statement with another value.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Stated<U> {
        let Self { value, place, key } = self;
        Stated {
            value: convert(value),
            place,
            key,
        }
    }
}

impl<'d> Reading<'d> {
    /// Begins to read `document`, by recording every table and key that `schema` does not know.
    pub fn begin(document: &'d Document, schema: &'static Schema) -> Self {
        let mut problems = document.problems().to_vec();
        problems.extend(schema.check(document));
        let problems = RefCell::new(problems);
        Self {
            document,
            schema,
            problems,
        }
    }

    /// Begins to read the one table of this name, whatever is wrong elsewhere.
    pub(super) fn begin_within(
        document: &'d Document,
        schema: &'static Schema,
        table: &str,
    ) -> Self {
        let reading = Self::begin(document, schema);
        let key_of_table = format!("{table}.");
        let is_of_table =
            |problem: &Problem| problem.key == table || problem.key.starts_with(&key_of_table);
        reading.problems.borrow_mut().retain(is_of_table);
        reading
    }

    /// The keys in front of all tables.
    pub fn top(&self) -> Section<'_> {
        Section {
            reading: self,
            name: "",
            path: String::new(),
            place: self.document.whole().clone(),
            table: Some(self.document.root()),
        }
    }

    /// The table `[name]`; one within another has a dotted name.
    pub fn section(&self, name: &'static str) -> Section<'_> {
        let mut node = None;
        let mut table = Some(self.document.root());
        for part in name.split('.') {
            node = table
                .and_then(|table| table.get(part))
                .map(|entry| &entry.node);
            table = node.and_then(|node| node.value.as_table());
        }
        Section {
            reading: self,
            name,
            path: name.to_owned(),
            place: node.map_or_else(|| self.document.whole().clone(), |node| node.place.clone()),
            table,
        }
    }

    /// Every table `[[name]]`, in order.
    pub fn sections(&self, name: &'static str) -> Vec<Section<'_>> {
        let nodes = match self
            .document
            .root()
            .get(name)
            .map(|entry| &entry.node.value)
        {
            Some(Value::List(nodes)) => nodes.as_slice(),
            Some(
                Value::Text(_)
                | Value::Plain(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Date(_)
                | Value::Table(_),
            )
            | None => &[],
        };
        let section = |(index, node): (usize, &'d Node)| {
            node.value.as_table().map(|table| Section {
                reading: self,
                name,
                path: format!("{name}[{index}]"),
                place: node.place.clone(),
                table: Some(table),
            })
        };
        nodes.iter().enumerate().filter_map(section).collect()
    }

    /// Records a problem.
    pub fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Records a problem with something that was stated.
    pub fn reject<T>(&self, stated: &Stated<T>, message: impl Into<String>) {
        self.report(Problem::new(
            stated.place.clone(),
            stated.key.clone(),
            message,
        ));
    }

    /// Records every value that was stated before under the same meaning, naming the first place.
    ///
    /// `what` is said about the second: "listens on 127.0.0.1:80, as does …".
    pub fn unique<T: PartialEq + Display>(&self, stated: &[Stated<T>], what: &str) {
        for (index, second) in stated.iter().enumerate() {
            if let Some(first) = stated[..index]
                .iter()
                .find(|first| first.value == second.value)
            {
                let Stated { value, key, place } = first;
                self.reject(
                    second,
                    format!("{what} {value} twice; the other one is {key} at {place}"),
                );
            }
        }
    }

    /// Records every listener that another, stated before, takes the port of: the same address, or
    /// one that stands for it too.
    pub fn disjoint(&self, listeners: &[Stated<ListenAddr>]) {
        for (index, second) in listeners.iter().enumerate() {
            let Some(first) = listeners[..index]
                .iter()
                .find(|first| first.value.overlaps(&second.value))
            else {
                continue;
            };
            let other = match &first.place {
                Place::File(_) => format!("{} by default", first.key),
                place @ (Place::Line { .. } | Place::Variable(_) | Place::Argument) => {
                    format!("{} at {place}", first.key)
                }
            };
            let (here, there) = (&second.value, &first.value);
            self.reject(
                second,
                if here == there {
                    format!("listens on {here} twice; the other one is {other}")
                } else {
                    format!(
                        "listens on {here}, and {there} of {other} takes that port too: \
                         0.0.0.0 is every IPv4 address, and [::] every IPv6 and every IPv4 address"
                    )
                },
            );
        }
    }

    /// The result, if nothing was wrong. `value` must be there unless a problem was recorded.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match Problems::of(self.problems.into_inner(), self.document.sources()) {
            Some(problems) => Err(problems),
            None => Ok(value.expect("what could not be read was recorded as a problem")),
        }
    }
}
