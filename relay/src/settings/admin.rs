//! `[admin]` and `[telemetry]`: where a process can be looked into.

use super::address::{ListenAddr, ListenAddrError};
use super::document::Document;
use super::numbers::OFF;
use super::problem::Problems;
use super::reading::{Reading, Stated};
use super::schema::Schema;
use super::section::Section;

/// The keys of `[admin]`.
pub const ADMIN_KEYS: &[&str] = &["listen"];

/// The keys of `[telemetry]`.
pub const TELEMETRY_KEYS: &[&str] = &["listen"];

/// `[admin]`: full control, and therefore for this machine only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// A loopback address or a unix socket; `None` if it is switched off.
    pub listen: Option<ListenAddr>,
}

/// `[telemetry]`: health and metrics only, for anyone who can reach it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TelemetrySettings {
    /// Any address; `None`, the default, if it is switched off.
    pub listen: Option<ListenAddr>,
}

impl AdminSettings {
    /// Reads `[admin]`; `default` is where it listens if nothing is stated. Also answers what it takes.
    pub fn read(section: &Section<'_>, default: ListenAddr) -> (Self, Option<Stated<ListenAddr>>) {
        let listen = Some(default);
        let admin = Self::stated(section).unwrap_or(Self { listen });
        let taken = admin
            .listen
            .clone()
            .map(|address| section.stated("listen", address));
        (admin, taken)
    }

    /// Reads `[admin]` alone, whatever is wrong with the rest; `None` if it does not say where it
    /// listens.
    ///
    /// # Errors
    /// What is wrong with `[admin]`.
    pub fn of_document(
        document: &Document,
        schema: &'static Schema,
    ) -> Result<Option<Self>, Problems> {
        let reading = Reading::begin_within(document, schema, "admin");
        let stated = Self::stated(&reading.section("admin"));
        reading.finish(Some(stated))
    }

    fn stated(section: &Section<'_>) -> Option<Self> {
        let listen = listener(section)?;
        if let Some(address) = &listen
            && !address.is_local()
        {
            section.problem(
                "listen",
                format!(
                    "{address} can be reached from other machines, and this listener has full control; \
                     use a loopback address or unix:path, and [telemetry] listen for health and metrics"
                ),
            );
        }
        Some(Self { listen })
    }
}

impl TelemetrySettings {
    /// Reads `[telemetry]`. Also answers what it takes.
    pub fn read(section: &Section<'_>) -> (Self, Option<Stated<ListenAddr>>) {
        let listen = listener(section).unwrap_or(None);
        let taken = listen
            .clone()
            .map(|address| section.stated("listen", address));
        (Self { listen }, taken)
    }
}

/// What `listen` says, if it says anything: an address, or that there is to be none.
fn listener(section: &Section<'_>) -> Option<Option<ListenAddr>> {
    section.read_with("listen", |text, directory| match text {
        OFF => Ok(None),
        text => match ListenAddr::parse(text, directory) {
            Ok(address) => Ok(Some(address)),
            Err(error @ ListenAddrError::NotAnAddress(_)) => {
                Err(format!("{error}, or \"off\" for no listener"))
            }
            Err(error @ (ListenAddrError::NoPath | ListenAddrError::PathTooLong { .. })) => {
                Err(error.to_string())
            }
        },
    })
}
