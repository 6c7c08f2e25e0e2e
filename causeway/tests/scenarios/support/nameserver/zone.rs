//! A zone as a name server is to have it: records, keys, and what each key may do.

use std::{fmt::Write as _, net::SocketAddr};

/// The key of the edges: updates and, unless a test says otherwise, transfers.
pub(crate) const EDGE: &str = "causeway";

/// The key of somebody else who may update and transfer as well.
pub(crate) const THIRD_PARTY: &str = "third-party";

/// The key by which the tests look at the whole zone; it may change nothing.
pub(crate) const OBSERVER: &str = "observer";

/// A shared secret, and what it is good for.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) algorithm: String,
    /// In base64.
    pub(crate) secret: String,
    pub(super) transfers: bool,
    pub(super) updates: bool,
}

impl Key {
    fn new(name: &str, secret: &str) -> Self {
        Self {
            name: name.to_owned(),
            algorithm: "hmac-sha256".to_owned(),
            secret: secret.to_owned(),
            transfers: true,
            updates: true,
        }
    }

    /// As dig and nsupdate take it.
    pub(super) fn dig_argument(&self) -> String {
        format!("{}:{}:{}", self.algorithm, self.name, self.secret)
    }
}

/// A zone with its records and keys.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    name: String,
    records: Vec<String>,
    keys: Vec<Key>,
    /// What the server is told of keys and the zone instead of what follows from the rest.
    pub(super) statements: Option<String>,
    /// What its file has instead of what follows from the rest.
    filed: Option<String>,
}

impl Zone {
    /// A zone with a SOA record, one name server, and three keys. Its negative answers and its own
    /// records live for 30 seconds.
    pub(crate) fn new(name: &str) -> Self {
        let mut observer = Key::new(OBSERVER, "dGhlIHNlY3JldCBvZiB3aG8gb25seSBsb29rcyBvbg==");
        observer.updates = false;
        Self {
            name: name.to_owned(),
            records: Vec::new(),
            keys: vec![
                Key::new(EDGE, "dGhlIHNlY3JldCBvZiBhbGwgdGhlIGVkZ2VzLCAzMiBi"),
                Key::new(THIRD_PARTY, "dGhlIHNlY3JldCBvZiBzb21lYm9keSBlbHNlLCBsb25n"),
                observer,
            ],
            statements: None,
            filed: None,
        }
    }

    /// One more record, such as `www 300 A 192.0.2.1`.
    pub(crate) fn record(mut self, record: &str) -> Self {
        self.records.push(record.to_owned());
        self
    }

    /// The algorithm of the edges' key: `hmac-sha256` unless this says otherwise.
    pub(crate) fn algorithm(mut self, algorithm: &str) -> Self {
        algorithm.clone_into(&mut self.key_mut(EDGE).algorithm);
        self
    }

    /// The edges may not transfer the zone.
    pub(crate) fn without_transfer(mut self) -> Self {
        self.key_mut(EDGE).transfers = false;
        self
    }

    /// The edges may not update the zone.
    pub(crate) fn without_updates(mut self) -> Self {
        self.key_mut(EDGE).updates = false;
        self
    }

    /// The server is told of keys and of the zone in these words of its own, from which follows what
    /// may be done with the zone.
    pub(crate) fn told_as(mut self, statements: &str) -> Self {
        self.statements = Some(statements.to_owned());
        self
    }

    /// The zone begins with this file.
    pub(crate) fn filed_as(mut self, file: &str) -> Self {
        self.filed = Some(file.to_owned());
        self
    }

    /// What the file of the zone is called.
    pub(super) fn file_name(&self) -> String {
        format!("{}.zone", self.name)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    #[track_caller]
    pub(super) fn key_named(&self, name: &str) -> &Key {
        let key = self.keys.iter().find(|key| key.name == name);
        key.unwrap_or_else(|| panic!("the zone has no key {name}"))
    }

    /// The fully qualified form of a name in the zone.
    pub(super) fn absolute(&self, name: &str) -> String {
        match name {
            "@" => format!("{}.", self.name),
            name if name.ends_with('.') => name.to_owned(),
            name => format!("{name}.{}.", self.name),
        }
    }

    /// The zone as a master file (RFC 1035, section 5).
    pub(super) fn file(&self) -> String {
        if let Some(file) = &self.filed {
            return file.clone();
        }
        let mut file = format!(
            "$ORIGIN {}.\n$TTL 30\n\
             @ SOA ns1 hostmaster 1 3600 600 86400 30\n\
             @ NS ns1\n\
             ns1 A 127.0.0.1\n",
            self.name
        );
        for record in &self.records {
            let _ = writeln!(file, "{record}");
        }
        file
    }

    /// What nsupdate is told to make these changes in one message.
    pub(super) fn update_script(&self, server: SocketAddr, lines: &str) -> String {
        let mut script = format!(
            "server {} {}\nzone {}.\n",
            server.ip(),
            server.port(),
            self.name
        );
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let at = if words[0] == "prereq" { 2 } else { 1 };
            words[at] = self.absolute(&words[at]);
            let _ = writeln!(script, "{}", words.join(" "));
        }
        script + "send\n"
    }

    fn key_mut(&mut self, name: &str) -> &mut Key {
        let key = self.keys.iter_mut().find(|key| key.name == name);
        key.expect("every zone has it")
    }
}
