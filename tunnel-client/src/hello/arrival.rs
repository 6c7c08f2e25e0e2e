//! What the tunnel knows of the way a connection took.

use serde::Serialize;

/// The way that a connection took to the service, as far as the tunnel knows it.
///
/// Everything is optional and only shown, never acted upon. An http ingress puts the
/// requests of many callers on one connection, so who made a *request* is in its
/// forwarding headers; `caller` is who opened the *stream*.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// Who opened the stream: `ingress/web`, `service/queue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The address of that caller as the edge saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_address: Option<String>,
    /// The edge that the stream came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// The transport of the session, e.g. `quic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The key exchange of that transport, e.g. `X25519MLKEM768`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_exchange: Option<String>,
    /// The cluster whose client runs this service: `acme/demo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The name under which it is exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The id of the stream, the same in both ends' logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}
