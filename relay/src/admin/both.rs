//! Both listeners of a process, as its configuration states them.

use tokio_util::sync::CancellationToken;

use super::{Admin, BindError, Listener, Surface};
use crate::settings::{AdminSettings, ListenAddr, TelemetrySettings};

/// The bound listeners; either may be off.
#[derive(Debug)]
pub struct Listeners {
    admin: Option<Listener>,
    telemetry: Option<Listener>,
}

impl Listeners {
    /// Binds both before anything is served. Call it within the runtime that will serve.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind(admin: &AdminSettings, telemetry: &TelemetrySettings) -> Result<Self, BindError> {
        let bind = |address: &Option<ListenAddr>, surface| {
            let bound = address
                .as_ref()
                .map(|address| Listener::bind(address, surface));
            bound.transpose()
        };
        Ok(Self {
            admin: bind(&admin.listen, Surface::Admin)?,
            telemetry: bind(&telemetry.listen, Surface::Telemetry)?,
        })
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> Option<ListenAddr> {
        self.admin.as_ref().map(Listener::address)
    }

    /// Where the telemetry listener is.
    pub fn telemetry_address(&self) -> Option<ListenAddr> {
        self.telemetry.as_ref().map(Listener::address)
    }

    /// Serves both until `stop`.
    pub async fn serve(self, admin: Admin, stop: CancellationToken) {
        let serve = |listener: Option<Listener>| {
            let (admin, stop) = (admin.clone(), stop.clone());
            async move {
                if let Some(listener) = listener {
                    listener.serve(admin, stop).await;
                }
            }
        };
        tokio::join!(serve(self.admin), serve(self.telemetry));
    }
}
