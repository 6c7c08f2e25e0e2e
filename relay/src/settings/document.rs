//! A configuration as it was written: one file, what it includes, and where each value stands.

use std::collections::btree_map::Entry as Slot;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::include;
use super::problem::{Place, Problem, Problems};
use super::schema::INCLUDE;
use super::value::{Entry, Node, Table, Value, parse_text};

/// A configuration before it is given meaning: its values, each with the place that states it.
///
/// Read it with [`Document::read`], let variables override it ([`Document::apply_variables`]), then
/// turn it into types with a [`Reading`](super::Reading).
#[derive(Clone, Debug)]
pub struct Document {
    root: Table,
    whole: Place,
    directory: PathBuf,
    sources: Sources,
    /// What was already wrong before its meaning was looked at.
    problems: Vec<Problem>,
}

/// The files a configuration came from, for [`watch`](super::watch).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The files, the main one first.
    pub files: Vec<SourceFile>,
    /// The patterns of `include`.
    pub patterns: Vec<PathBuf>,
}

/// One file of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The file; a relative path is relative to the working directory.
    pub path: PathBuf,
    /// Whether it was found by a pattern, and so may go away.
    pub by_pattern: bool,
    /// What it held when it was read.
    pub(super) digest: Digest,
}

/// Tells apart what a file holds from what it held; `None` is a file that cannot be read.
pub(super) type Digest = Option<u64>;

/// The digest of a file's content.
pub(super) fn digest(content: Option<&[u8]>) -> Digest {
    content.map(|content| {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        hasher.finish()
    })
}

impl Sources {
    /// One file that is no configuration, as it is now; it need not be there.
    pub fn of(path: &Path) -> Self {
        let main = SourceFile {
            path: path.to_owned(),
            by_pattern: false,
            digest: digest(std::fs::read(path).ok().as_deref()),
        };
        Self {
            files: vec![main],
            patterns: Vec::new(),
        }
    }
}

impl Document {
    /// Reads a file and all that it includes.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        Self::read_in_part(path)?.complete()
    }

    /// Reads a file, and of what it includes as much as can be read. What cannot is a problem that
    /// [`Reading::finish`](super::Reading::finish) reports, unless it is of another table.
    pub fn read_in_part(path: &Path) -> Result<Self, Problems> {
        Self::assemble(path, std::fs::read(path))
    }

    /// Reads `text` as the content of the file `path`, which need not exist, and all that it includes.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problems> {
        Self::assemble(path, Ok(text.as_bytes().to_vec()))?.complete()
    }

    fn assemble(path: &Path, content: io::Result<Vec<u8>>) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Vec::new();
        let main = SourceFile {
            path: path.to_owned(),
            by_pattern: false,
            digest: None,
        };
        let mut root = sources.add(main, content, &mut problems);
        if let Some(unreadable) = Problems::of(problems.clone(), &sources) {
            return Err(unreadable);
        }
        if let Some(include) = root.remove(INCLUDE) {
            for included in include::resolve(&include.node, &mut sources, &mut problems) {
                let content = std::fs::read(&included.path);
                let more = sources.add(included, content, &mut problems);
                merge(&mut root, more, "", &mut problems);
            }
        }
        Ok(Self {
            root,
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            whole: Place::File(path.into()),
            sources,
            problems,
        })
    }

    /// The same, if nothing of it is missing.
    fn complete(self) -> Result<Self, Problems> {
        match Problems::of(self.problems.clone(), &self.sources) {
            Some(problems) => Err(problems),
            None => Ok(self),
        }
    }

    /// An empty configuration, to be filled from a command's arguments; paths are relative to the working directory.
    pub fn of_arguments() -> Self {
        Self {
            root: Table::new(),
            whole: Place::Argument,
            directory: PathBuf::new(),
            sources: Sources::default(),
            problems: Vec::new(),
        }
    }

    /// States `[table] key = value`; what a file states is replaced. The table "" holds the keys in front of all
    /// tables, and one within another has a dotted name.
    pub fn set(&mut self, place: Place, table: &str, key: &str, value: &str) {
        let entry = Entry {
            key_place: place.clone(),
            node: Node {
                place: place.clone(),
                value: Value::Plain(value.to_owned()),
            },
        };
        let mut entries = &mut self.root;
        for part in table.split('.').filter(|part| !part.is_empty()) {
            let opened = entries.entry(part.to_owned()).or_insert_with(|| Entry {
                key_place: place.clone(),
                node: Node {
                    place: place.clone(),
                    value: Value::Table(Table::new()),
                },
            });
            match &mut opened.node.value {
                Value::Table(within) => entries = within,
                Value::Text(_)
                | Value::Plain(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Date(_)
                // What is no table is reported when it is read: nothing to put a key into.
                | Value::List(_) => return,
            }
        }
        entries.insert(key.to_owned(), entry);
    }

    /// Adds one `[[table]]` with these keys, as stated by the command's arguments.
    pub fn push(&mut self, table: &str, keys: &[(&str, &str)]) {
        let plain = |(key, value): &(&str, &str)| {
            let node = Node {
                place: Place::Argument,
                value: Value::Plain((*value).to_owned()),
            };
            (
                (*key).to_owned(),
                Entry {
                    key_place: Place::Argument,
                    node,
                },
            )
        };
        let node = Node {
            place: Place::Argument,
            value: Value::Table(keys.iter().map(plain).collect()),
        };
        let list = self.root.entry(table.to_owned()).or_insert_with(|| Entry {
            key_place: Place::Argument,
            node: Node {
                place: Place::Argument,
                value: Value::List(Vec::new()),
            },
        });
        if let Value::List(nodes) = &mut list.node.value {
            nodes.push(node);
        }
    }

    /// The tables and keys at the top, `include` aside.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.root.keys().map(String::as_str)
    }

    /// The files it came from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// `problem` as all that is wrong with it.
    pub fn refuse(&self, problem: Problem) -> Problems {
        let problems = Problems::of(vec![problem], &self.sources);
        problems.expect("one problem is one too many")
    }

    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What was reported so far.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn root(&self) -> &Table {
        &self.root
    }

    /// The place of what is nowhere in it.
    pub(super) fn whole(&self) -> &Place {
        &self.whole
    }

    /// What relative paths of variables and arguments are relative to: the main file's directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Sources {
    /// Notes a file with its content, and answers what it states; nothing, if that is a problem.
    fn add(
        &mut self,
        file: SourceFile,
        content: io::Result<Vec<u8>>,
        problems: &mut Vec<Problem>,
    ) -> Table {
        let path: Arc<Path> = file.path.as_path().into();
        let digest = digest(content.as_deref().ok());
        self.files.push(SourceFile { digest, ..file });
        let text = content
            .map_err(|error| unreadable(&error))
            .and_then(|content| {
                String::from_utf8(content).map_err(|_| "is not UTF-8 text".to_owned())
            });
        let table = text
            .map_err(|message| Problem::new(Place::File(path.clone()), "", message))
            .and_then(|text| parse_text(&path, &text));
        table.unwrap_or_else(|problem| {
            problems.push(problem);
            Table::new()
        })
    }
}

fn unreadable(error: &io::Error) -> String {
    if error.kind() == ErrorKind::NotFound {
        "no such file".to_owned()
    } else {
        format!("cannot be read: {error}")
    }
}

/// Adds an included file's entries: tables join, lists of tables grow, anything stated twice is a problem.
fn merge(into: &mut Table, more: Table, path: &str, problems: &mut Vec<Problem>) {
    for (key, entry) in more {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if path == INCLUDE {
            let message = "only the main file may include others; list the files there";
            problems.push(Problem::new(entry.key_place, path, message));
            continue;
        }
        match into.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(mut slot) => {
                let first = slot.get_mut();
                match (&mut first.node.value, entry.node.value) {
                    (Value::Table(into), Value::Table(more)) => merge(into, more, &path, problems),
                    (Value::List(into), Value::List(more))
                        if [&*into, &more].iter().all(|list| are_tables(list)) =>
                    {
                        into.extend(more);
                    }
                    (_, _) => {
                        let message =
                            format!("is set twice; the other one is at {}", first.key_place);
                        problems.push(Problem::new(entry.key_place, path, message));
                    }
                }
            }
        }
    }
}

fn are_tables(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| node.value.is_table_like())
}
