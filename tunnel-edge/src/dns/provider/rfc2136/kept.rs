//! The names that a zone was asked for, kept on disk where it cannot be transferred: so an edge that
//! starts asks also for those whose clusters left while it was away.
//!
//! They are written before anything is changed under them, and whole at every moment. Whose a name is
//! the zone says, not this file: what it names is only looked at.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use hickory_proto::rr::{LowerName, Name};
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::{
    dns::{
        ownership,
        provider::{ProviderError, Reason},
    },
    whole_file,
};

/// How many are kept at most.
const MOST_NAMES: usize = 100_000;

/// No name takes more, with the end of its line, unless it is written with escapes.
const LONGEST_LINE: u64 = 256;

/// Whoever can read the state directory may read what anybody can ask the name server for.
const MODE: u32 = 0o644;

/// A file of names.
#[derive(Debug)]
pub(super) struct KeptNames {
    zone: LowerName,
    path: PathBuf,
    /// What an earlier process left there.
    found: BTreeSet<LowerName>,
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    /// What the file has, once that is known.
    written: Option<BTreeSet<LowerName>>,
    /// What it should have and has not, since writing has failed the last time.
    unwritten: Option<BTreeSet<LowerName>>,
    /// There were more than are kept the last time.
    beyond: bool,
}

impl KeptNames {
    /// Reads what an earlier process left in `state_dir`. What is not such a file is put aside.
    pub(super) fn open(zone: &LowerName, state_dir: &Path) -> Result<Self, ProviderError> {
        let path = state_dir.join(format!("dns-{}names", zone.to_ascii()));
        let found = match read(&path, zone) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                put_aside(&path, &error);
                BTreeSet::new()
            }
            Err(error) => {
                let path = path.display();
                let message =
                    format!("{path}: {error}; the edge must be able to read its state directory");
                return Err(ProviderError {
                    reason: Reason::File,
                    message,
                });
            }
        };
        Ok(Self {
            zone: zone.clone(),
            path,
            found,
            writing: Mutex::default(),
        })
    }

    /// What an earlier process left.
    pub(super) fn found(&self) -> &BTreeSet<LowerName> {
        &self.found
    }

    /// Writes `names`, without those of ownership records, unless the file has them all: that they are
    /// fewer may mean that only some of them are looked at again. That it cannot be written keeps
    /// nobody from going on.
    pub(super) async fn keep(&self, names: &BTreeSet<LowerName>) {
        let mut writing = self.writing.lock().await;
        let mut kept: BTreeSet<_> = names
            .iter()
            .filter(|name| ownership::served(name, &self.zone).is_none())
            .cloned()
            .collect();
        // Only some names may be looked at again before the file can be written.
        kept.extend(writing.unwritten.iter().flatten().cloned());
        let beyond = kept.len().saturating_sub(MOST_NAMES);
        if beyond > 0 && !writing.beyond {
            tracing::warn!(
                file = %self.path.display(), beyond,
                "not all DNS names are kept: those beyond stay in the zone if their clusters leave \
                 while this edge is away"
            );
        }
        writing.beyond = beyond > 0;
        if let Some(first_beyond) = kept.iter().nth(MOST_NAMES).cloned() {
            kept.split_off(&first_beyond);
        }
        if let Some(written) = &writing.written
            && written.is_superset(&kept)
        {
            return;
        }
        let (text, path) = (render(&kept, &self.zone), self.path.clone());
        let written = spawn_blocking(move || write(&path, &text)).await;
        match written.unwrap_or_else(|failed| Err(io::Error::other(failed))) {
            Ok(()) => {
                if writing.unwritten.take().is_some() {
                    tracing::info!(file = %self.path.display(), "DNS names are kept on disk again");
                }
                writing.written = Some(kept);
            }
            Err(error) => {
                if writing.unwritten.is_none() {
                    tracing::warn!(
                        file = %self.path.display(), %error,
                        "DNS names cannot be kept on disk: after a restart now, those of clusters \
                         that left meanwhile would stay in the zone"
                    );
                }
                writing.unwritten = Some(kept);
                writing.written = None;
            }
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    whole_file::replace(path, text.as_bytes(), MODE)
}

fn read(path: &Path, zone: &LowerName) -> io::Result<BTreeSet<LowerName>> {
    let most = LONGEST_LINE * (MOST_NAMES as u64 + 2);
    let mut text = String::new();
    File::open(path)?.take(most).read_to_string(&mut text)?;
    parse(&text, zone).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn put_aside(path: &Path, error: &io::Error) {
    let aside = path.with_extension("names.damaged");
    let moved = fs::rename(path, &aside);
    let moved = moved.map_or_else(|error| error.to_string(), |()| aside.display().to_string());
    tracing::warn!(
        file = %path.display(), %error, aside = moved,
        "the kept DNS names cannot be read and are put aside: those of clusters that left while this \
         edge was away stay in the zone"
    );
}

/// One name on each line, between a heading and their number.
fn render(names: &BTreeSet<LowerName>, zone: &LowerName) -> String {
    let lines: Vec<_> = names
        .iter()
        .map(|name| (name, name.to_ascii()))
        // Whatever labels somebody may have made, a line is a name again.
        .filter(|(name, line)| parse_name(line, zone).as_ref() == Some(*name))
        .map(|(_, line)| line)
        .collect();
    let mut text = heading(zone);
    for line in lines.iter().chain([&ending(lines.len())]) {
        text.push('\n');
        text.push_str(line);
    }
    text.push('\n');
    text
}

fn parse(text: &str, zone: &LowerName) -> Result<BTreeSet<LowerName>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(&*heading(zone)) {
        return Err(format!("it does not begin with \"{}\"", heading(zone)));
    }
    let is_whole = text.ends_with('\n');
    let last = lines.next_back();
    let names = lines
        .map(|line| {
            parse_name(line, zone).ok_or_else(|| format!("\"{line}\" is no name in {zone}"))
        })
        .collect::<Result<BTreeSet<_>, _>>()?;
    if !is_whole || last != Some(&*ending(names.len())) {
        return Err("it breaks off".to_owned());
    }
    Ok(names)
}

fn parse_name(line: &str, zone: &LowerName) -> Option<LowerName> {
    let name = Name::from_ascii(line).ok().filter(Name::is_fqdn)?;
    let name = LowerName::from(name);
    zone.zone_of(&name).then_some(name)
}

fn heading(zone: &LowerName) -> String {
    let zone = zone.to_ascii();
    format!("; the names that this edge may have in {zone}, for its next start")
}

fn ending(count: usize) -> String {
    format!("; {count} names")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> LowerName {
        name("apps.example.com.")
    }

    fn name(text: &str) -> LowerName {
        LowerName::from(Name::from_ascii(text).unwrap())
    }

    fn names(relative: &[&str]) -> BTreeSet<LowerName> {
        let absolute = |relative: &&str| name(&format!("{relative}.apps.example.com."));
        relative.iter().map(absolute).collect()
    }

    fn open(directory: &Path) -> KeptNames {
        KeptNames::open(&zone(), directory).unwrap()
    }

    fn file(directory: &Path) -> PathBuf {
        directory.join("dns-apps.example.com.names")
    }

    #[tokio::test]
    async fn what_was_kept_last_is_found_without_the_names_of_ownership_records() {
        let directory = tempfile::tempdir().unwrap();
        // It is made if it is not there.
        let state = directory.path().join("state");
        let first = open(&state);
        assert!(first.found().is_empty());
        first.keep(&names(&["gone--acme"])).await;
        assert_eq!(open(&state).found(), &names(&["gone--acme"]));
        let asked = ["*", "a--acme", "a--acme._causeway", "_causeway._tcp"];
        first.keep(&names(&asked)).await;
        let expected = names(&["*", "a--acme", "_causeway._tcp"]);
        assert_eq!(open(&state).found(), &expected);
    }

    #[tokio::test]
    async fn a_file_is_written_only_when_there_is_something_more_to_keep() {
        let directory = tempfile::tempdir().unwrap();
        let kept = open(directory.path());
        kept.keep(&names(&["a--acme", "b--acme"])).await;
        fs::remove_file(file(directory.path())).unwrap();
        kept.keep(&names(&["a--acme", "b--acme"])).await;
        kept.keep(&names(&["b--acme"])).await;
        assert!(!file(directory.path()).exists());
        kept.keep(&names(&["b--acme", "c--acme"])).await;
        let expected = names(&["b--acme", "c--acme"]);
        assert_eq!(open(directory.path()).found(), &expected);
    }

    #[test]
    fn whatever_labels_there_are_what_is_written_can_be_read() {
        let odd =
            Name::from_labels(["new\nline".as_bytes(), b";", b"\xff", b"a b", b"\\"]).unwrap();
        let odd = LowerName::from(odd.append_domain(&zone()).unwrap());
        let mut all = names(&["a--acme"]);
        all.insert(odd);
        let read = parse(&render(&all, &zone()), &zone()).unwrap();
        assert!(read.contains(&names(&["a--acme"]).pop_first().unwrap()));
        assert!(read.is_subset(&all));
    }

    #[test]
    fn names_of_other_scripts_are_written_as_they_are_asked_for() {
        let zone = name("xn--bcher-kva.example.");
        let all = BTreeSet::from([name("a--acme.xn--bcher-kva.example.")]);
        assert_eq!(parse(&render(&all, &zone), &zone).unwrap(), all);
    }

    #[test]
    fn a_file_that_cannot_be_read_stays_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(file(directory.path())).unwrap();
        let error = KeptNames::open(&zone(), directory.path()).unwrap_err();
        assert!(error.message.contains("state directory"), "{error}");
        assert!(file(directory.path()).exists());
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_no_such_file() {
        let whole = render(&names(&["a--acme", "b--acme"]), &zone());
        assert_eq!(parse(&whole, &zone()).unwrap().len(), 2);
        for end in 0..whole.len() {
            parse(&whole[..end], &zone()).unwrap_err();
        }
    }

    #[test]
    fn what_is_no_such_file_is_put_aside_and_nothing_is_found() {
        let of_another = name("other.example.com.");
        let foreign = [
            b"apps.example.com. 60 IN A 192.0.2.1\n".to_vec(),
            render(&BTreeSet::new(), &of_another).into_bytes(),
            format!("{}\na.other.example.com.\n; 1 names\n", heading(&zone())).into_bytes(),
            b"\xff\xfe".to_vec(),
        ];
        for contents in foreign {
            let directory = tempfile::tempdir().unwrap();
            fs::write(file(directory.path()), &contents).unwrap();
            assert!(open(directory.path()).found().is_empty());
            let aside = directory.path().join("dns-apps.example.com.names.damaged");
            assert_eq!(fs::read(aside).unwrap(), contents);
            assert!(!file(directory.path()).exists());
        }
    }

    #[tokio::test]
    async fn no_more_are_kept_than_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let all: BTreeSet<_> = (0..=MOST_NAMES)
            .map(|number| name(&format!("c{number}.apps.example.com.")))
            .collect();
        let kept = open(directory.path());
        kept.keep(&all).await;
        let found = open(directory.path());
        assert_eq!(found.found().len(), MOST_NAMES);
        assert!(found.found().is_subset(&all));
    }

    #[tokio::test]
    async fn where_it_cannot_be_written_it_is_written_as_soon_as_it_can() {
        let directory = tempfile::tempdir().unwrap();
        let in_the_way = directory.path().join("dns-apps.example.com.names.new");
        fs::create_dir(&in_the_way).unwrap();
        let kept = open(directory.path());
        kept.keep(&names(&["a--acme"])).await;
        assert!(!file(directory.path()).exists());
        fs::remove_dir(&in_the_way).unwrap();
        // Some that are looked at again are not all that there are.
        kept.keep(&names(&["b--acme"])).await;
        let both = names(&["a--acme", "b--acme"]);
        assert_eq!(open(directory.path()).found(), &both);
    }
}
