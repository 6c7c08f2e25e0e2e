//! A zone that cannot be transferred, read name by name.

use std::collections::BTreeSet;

use futures_util::{
    StreamExt, TryStreamExt,
    future::{join_all, try_join_all},
    stream,
};
use hickory_proto::{
    op::ResponseCode,
    rr::{LowerName, Name, RecordType},
};
use parking_lot::Mutex;

use super::{
    Rfc2136,
    fault::Work,
    reading::{self, Sets, TYPES, UNUSUAL_TYPES},
    wire::Answer,
};
use crate::dns::{
    provider::{Applied, ProviderError},
    records::{Change, Expectation, Key, Records},
};

/// How many names are asked for at once.
const NAMES_AT_ONCE: usize = 16;

/// Names where something may be in the way that is not among what is asked for otherwise.
#[derive(Debug, Default)]
pub(super) struct Obstructed(Mutex<BTreeSet<LowerName>>);

impl Obstructed {
    /// A change that was refused because the name is not as it was read may have met what was not
    /// read. And an alias that is put beside something is left out silently (RFC 2136, section
    /// 3.4.2.2), unless the change expects nothing there.
    pub(super) fn learn(&self, change: &Change, applied: Applied) {
        let sets = change.sets.iter();
        let writes_alias = sets
            .filter(|(_, set)| set.is_some())
            .any(|(key, _)| key.kind == RecordType::CNAME);
        let alone = Expectation::Unused(change.name.clone());
        let maybe = match applied {
            Applied::Overtaken => true,
            Applied::Done => writes_alias && !change.expected.contains(&alone),
        };
        if maybe {
            self.0.lock().insert(change.name.clone());
        }
    }

    /// The whole zone was read: there is nothing that is not seen.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }

    fn contains(&self, name: &LowerName) -> bool {
        self.0.lock().contains(name)
    }

    /// What a closer look has shown that left no question open. While there is something unusual, the next look is as close.
    fn looked(&self, name: &LowerName, sets: &Sets) {
        let unusual = |kind| !TYPES.contains(kind) && *kind != RecordType::CNAME;
        if !sets.keys().any(unusual) {
            self.0.lock().remove(name);
        }
    }
}

impl Rfc2136 {
    pub(super) async fn query_all(
        &self,
        names: &BTreeSet<LowerName>,
    ) -> Result<Records, ProviderError> {
        let found: Vec<_> = stream::iter(names.iter().cloned())
            .map(|name| async move {
                let sets = self.query_name(&name).await?;
                Ok((name, sets))
            })
            .buffer_unordered(NAMES_AT_ONCE)
            .try_collect()
            .await?;
        let sets = found.into_iter().flat_map(|(name, sets)| {
            sets.into_iter().map(move |(kind, set)| {
                let name = name.clone();
                (Key { name, kind }, set)
            })
        });
        Ok(sets.collect())
    }

    /// What is under one name, without what only a wildcard puts there.
    async fn query_name(&self, name: &LowerName) -> Result<Sets, ProviderError> {
        let mut own = self.query_sets(name, &TYPES).await?;
        let closely = self.obstructed.contains(name);
        let all = closely && self.query_closely(name, &mut own).await;
        let below = Name::from_ascii("_").and_then(|label| label.append_domain(name));
        // At the zone itself, and where no longer name would fit, there is no wildcard above.
        if let (false, Ok(below)) = (own.is_empty() || *name == self.zone, below) {
            let below = self.query_sets(&below, &reading::types_of(&own)).await?;
            if reading::is_from_wildcard(&own, &below) {
                own.clear();
            }
        }
        if all {
            self.obstructed.looked(name, &own);
        }
        Ok(own)
    }

    async fn query_sets(&self, name: &Name, kinds: &[RecordType]) -> Result<Sets, ProviderError> {
        let mut sets = Sets::new();
        let asked = kinds
            .iter()
            .map(|kind| self.query(Work::Query(name), name, *kind));
        for answer in try_join_all(asked).await? {
            if !matches!(answer.code, ResponseCode::NoError | ResponseCode::NXDomain) {
                return Err(self.place.refused(Work::Query(name), answer.code));
            }
            // Below a delegation nothing is this zone's.
            if answer.authoritative {
                reading::add_answer(&mut sets, name, answer.records);
            }
        }
        Ok(sets)
    }

    /// Adds everything else that the server says of a name, a delegation included, and says whether
    /// it answered every question. That it does not is no failure: not every server knows each of
    /// these types, and some never answer the question for any.
    async fn query_closely(&self, name: &Name, sets: &mut Sets) -> bool {
        let asked = UNUSUAL_TYPES
            .iter()
            .map(|kind| self.query(Work::Query(name), name, *kind));
        let mut all = true;
        for answer in join_all(asked).await {
            match answer {
                Ok(answer) if answer.code == ResponseCode::NoError => {
                    let of_the_zone = if answer.authoritative {
                        answer.records
                    } else {
                        answer.authorities
                    };
                    reading::add_answer(sets, name, of_the_zone);
                }
                Ok(_) => {}
                Err(_) => all = false,
            }
        }
        all
    }

    pub(super) async fn query(
        &self,
        work: Work<'_>,
        name: &Name,
        kind: RecordType,
    ) -> Result<Answer, ProviderError> {
        self.exchange(work, |id| Ok(reading::question(id, name, kind)))
            .await
    }
}
