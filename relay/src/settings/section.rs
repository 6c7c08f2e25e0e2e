//! One table of a document, key by key.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::problem::{Place, Problem};
use super::reading::{Reading, Stated};
use super::value::{Entry, Node, Table, Value};

/// One table of a document, or the absence of it: then every key takes its default.
#[derive(Clone, Debug)]
pub struct Section<'r> {
    pub(super) reading: &'r Reading<'r>,
    /// The table's name in the schema.
    pub(super) name: &'static str,
    /// What its keys' paths begin with: `edge`, `ingress[0]`.
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) table: Option<&'r Table>,
}

impl<'r> Section<'r> {
    /// Whether the table stands in the document at all.
    pub fn is_stated(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the key is set.
    pub fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// Where the key stands, or the table if it is not set.
    pub fn place(&self, key: &'static str) -> Place {
        self.entry(key)
            .map_or_else(|| self.place.clone(), |entry| entry.node.place.clone())
    }

    /// The key's full path, such as `ingress[0].kind`.
    pub fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// `value` as what the key states, to be named in problems.
    pub fn stated<T>(&self, key: &'static str, value: T) -> Stated<T> {
        Stated {
            value,
            place: self.place(key),
            key: self.key(key),
        }
    }

    /// Like [`Reading::unique`].
    pub fn unique<T: PartialEq + Display>(&self, stated: &[Stated<T>], what: &str) {
        self.reading.unique(stated, what);
    }

    /// Records a problem with the key.
    pub fn problem(&self, key: &'static str, message: impl Into<String>) {
        self.reading
            .report(Problem::new(self.place(key), self.key(key), message));
    }

    /// Records a problem with the table as a whole.
    pub fn problem_here(&self, message: impl Into<String>) {
        self.reading
            .report(Problem::new(self.place.clone(), self.path.clone(), message));
    }

    /// Records a problem if the key is set, for keys that have no meaning beside another one.
    pub fn refuse(&self, key: &'static str, because: &str) {
        if self.has(key) {
            self.problem(key, because);
        }
    }

    /// Records that the key is missing, if it is; `hint` says what to write.
    pub fn require(&self, key: &'static str, hint: &str) {
        if !self.has(key) {
            let place = self.place.clone();
            let message = format!("missing; {hint}");
            self.reading
                .report(Problem::new(place, self.key(key), message));
        }
    }

    /// A text, as a type that can be read from one.
    pub fn parsed<T>(&self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.read_with(key, |text, _| text.parse())
    }

    /// A text, read by `read`, which is also given the directory that relative paths are relative to.
    pub fn read_with<T, E: Display>(
        &self,
        key: &'static str,
        read: impl Fn(&str, &Path) -> Result<T, E>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        Some(self.element(&entry.node, self.key(key), &read)?.value)
    }

    /// A text or a list of texts, each read by `read`; empty if the key is not set.
    pub fn each_with<T, E: Display>(
        &self,
        key: &'static str,
        read: impl Fn(&str, &Path) -> Result<T, E>,
    ) -> Vec<Stated<T>> {
        let Some(Entry { node, .. }) = self.entry(key) else {
            return Vec::new();
        };
        match &node.value {
            Value::List(nodes) => nodes
                .iter()
                .enumerate()
                .filter_map(|(index, node)| {
                    self.element(node, format!("{}[{index}]", self.key(key)), &read)
                })
                .collect(),
            Value::Plain(text) => text
                .split(',')
                .filter_map(|text| {
                    let value = Value::Plain(text.trim().to_owned());
                    let node = Node {
                        place: node.place.clone(),
                        value,
                    };
                    self.element(&node, self.key(key), &read)
                })
                .collect(),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Date(_)
            | Value::Table(_) => self
                .element(node, self.key(key), &read)
                .into_iter()
                .collect(),
        }
    }

    /// Like [`Section::each_with`], but the key must be set to at least one; `hint` says what to write.
    pub fn some_with<T, E: Display>(
        &self,
        key: &'static str,
        hint: &str,
        read: impl Fn(&str, &Path) -> Result<T, E>,
    ) -> Vec<Stated<T>> {
        self.require(key, hint);
        if let Some(Entry {
            node: Node {
                value: Value::List(nodes),
                ..
            },
            ..
        }) = self.entry(key)
            && nodes.is_empty()
        {
            self.problem(key, format!("is empty; {hint}"));
        }
        self.each_with(key, read)
    }

    /// A path; a relative one is relative to the file that states it.
    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.read_with(key, |text, directory| match text {
            "" => Err("empty; write a path"),
            text => Ok(directory.join(text)),
        })
    }

    /// One of a few words, each with its meaning.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.read_with(key, |text, _| {
            let known = words.iter().find(|(word, _)| *word == text);
            known.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let expected: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!(
                    "unknown value {text:?}; expected one of {}",
                    expected.join(", ")
                )
            })
        })
    }

    fn element<T, E: Display>(
        &self,
        node: &Node,
        key: String,
        read: &impl Fn(&str, &Path) -> Result<T, E>,
    ) -> Option<Stated<T>> {
        let place = node.place.clone();
        let result = match &node.value {
            Value::Text(text) | Value::Plain(text) => {
                let directory = place.directory(self.reading.document.directory());
                read(text, directory).map_err(|error| error.to_string())
            }
            Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => Err(format!("expected a string, found {}", node.value.what())),
        };
        match result {
            Ok(value) => Some(Stated { value, place, key }),
            Err(message) => {
                self.reading.report(Problem::new(place, key, message));
                None
            }
        }
    }

    pub(super) fn entry(&self, key: &'static str) -> Option<&'r Entry> {
        assert!(
            self.reading.schema.has(self.name, key),
            "{} is read and must be in the schema",
            self.key(key)
        );
        self.table?.get(key)
    }
}
