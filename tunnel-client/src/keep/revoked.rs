//! What becomes of a session whose edge's certificate is revoked, and of a client whose own is.

use std::convert::Infallible;
use std::time::Duration;

use certs::{Chain, Revoked};
use relay::CloseCode;
use relay::proto::Close;

use super::Keeper;
use super::mend::Course;
use crate::dial::why_revoked;

impl Keeper {
    /// Ends the session as soon as its edge's certificate is revoked. Cancel-safe.
    pub(super) async fn end_when_revoked(&self, course: &Course) -> Infallible {
        let revoked = self.dialer.revocation.revoked(&course.shown).await;
        end(course, &revoked);
        std::future::pending().await
    }

    /// Another connection carries the session, on which the edge has shown this.
    pub(super) fn goes_on_with(&self, course: &Course, shown: Chain) {
        *course.shown.lock() = shown.clone();
        // Whoever waits for that to be revoked may have looked at what was shown before.
        if let Some(revoked) = self.dialer.revocation.of(&shown) {
            end(course, &revoked);
        }
    }

    /// How long an edge is left alone that refuses this client for its certificate: only another
    /// certificate helps, and that takes somebody to bring it.
    pub(super) fn patience_with(&self, refusal: &Close) -> Option<Duration> {
        match refusal.code == CloseCode::Revoked {
            true => refusal.retry_after.max(Some(self.backoff.max)),
            false => refusal.retry_after,
        }
    }
}

fn end(course: &Course, revoked: &Revoked) {
    let session = &course.session;
    session.span().in_scope(
        || tracing::error!(edge = course.edge, %revoked, "the edge's certificate is revoked: the session ends"),
    );
    session.close(CloseCode::Revoked, &why_revoked(revoked));
}
