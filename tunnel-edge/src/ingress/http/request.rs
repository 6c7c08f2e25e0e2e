//! One request, from its head to the head of its answer.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use hyper::body::{Body, Incoming};
use relay::AppProtocol;

use super::body::{OriginBody, ResponseBody};
use super::caller::{BusyGuard, Caller};
use super::failure::Failure;
use super::grpc::Dialect;
use super::headers::{
    authority, for_caller, for_http1, for_http2, is_coding_undone, take_hop_by_hop,
};
use super::link::{Link, LinkId};
use super::origin::Destination;
use super::provenance::Provenance;
use super::route::{Choice, resolve};
use super::switch::{Agreement, Wish};
use super::tasks::{Handover, Tasks};
use super::upgrade::{Hold, Side, Splice};
use super::upload::RequestBody;
use super::{HttpIngress, trace};

/// Whether a connection may be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It may.
    Granted,
    /// Its address has too many; whoever uses this one is told so.
    TooManyConnections,
}

impl HttpIngress {
    /// Answers a request. Dropping the future gives it up, at the origin too.
    pub(super) async fn answer(
        self: Arc<Self>,
        caller: Arc<Caller>,
        access: Access,
        tasks: Tasks,
        mut request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let counted = self.metrics.request();
        let version = request.version();
        let busy = caller.busy(version == Version::HTTP_2);
        let dialect = Dialect::of(request.headers());
        let side = Side {
            upgrade: hyper::upgrade::on(&mut request),
            handover: Handover::of_this_request(),
        };
        let response = match self.forward(&caller, access, &busy, request).await {
            Ok((response, Some(link))) => {
                let mut response = response;
                let origin = hyper::upgrade::on(&mut response);
                let lease = response.body_mut().take_lease();
                let lease = lease.expect("an answer just received holds its connection");
                let splice = Splice {
                    caller: side,
                    origin: Side {
                        upgrade: origin,
                        handover: lease.handover(),
                    },
                    lease,
                    hold: if version == Version::HTTP_2 {
                        Hold::Stream(busy)
                    } else {
                        Hold::Connection(caller.cut_unless_disarmed())
                    },
                    request: counted,
                    link,
                };
                splice.begin(&caller, &tasks);
                response.map(|_| ResponseBody::empty())
            }
            Ok((response, None)) => {
                let response = response.map(ResponseBody::origin);
                let response = response.map(|body| body.guarded(counted, busy));
                if version <= Version::HTTP_10 {
                    // The end of the connection may be all that ends the answer.
                    response.map(|body| body.or_cut(caller.cut_unless_disarmed()))
                } else {
                    response
                }
            }
            Err(failure) => {
                self.metrics.failed(failure.code());
                let mut response = failure.response(dialect);
                if self.closes_after(failure, &caller) {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                response.map(|body| body.guarded(counted, busy))
            }
        };
        self.metrics.answered(response.status());
        response
    }

    /// Whether nothing more is to be heard on the connection of a request that failed so.
    fn closes_after(&self, failure: Failure, caller: &Caller) -> bool {
        match failure {
            Failure::RequestTimeout
            | Failure::TooManyConnections
            | Failure::TransferCodingUnsupported => true,
            // A proxy's next request may be another caller's.
            Failure::CallerNotAllowed => !self.settings.trusted.include(caller.peer().ip()),
            Failure::BadHost
            | Failure::BadPath
            | Failure::BadForwardingHeader
            | Failure::MethodNotSupported
            | Failure::UnknownHost
            | Failure::UnknownPath
            | Failure::ClusterNotConnected
            | Failure::UnknownService
            | Failure::NotHttp
            | Failure::Open(_)
            | Failure::OpenTimeout
            | Failure::Reset(_)
            | Failure::OriginClosed
            | Failure::OriginProtocol
            | Failure::UpgradeUnsupported
            | Failure::UpgradeDeclined
            | Failure::RequestIncomplete => false,
        }
    }

    /// Sends a request to the service that it is for. If the origin has switched to another
    /// protocol, also says over which session.
    async fn forward(
        &self,
        caller: &Caller,
        access: Access,
        busy: &BusyGuard,
        request: Request<Incoming>,
    ) -> Result<(Response<OriginBody>, Option<Link>), Failure> {
        if access == Access::TooManyConnections {
            let caller = caller.peer();
            tracing::warn!(ingress = self.name, %caller, "a caller is refused: too many connections");
            return Err(Failure::TooManyConnections);
        }
        let (mut parts, body) = request.into_parts();
        let provenance = Provenance::of(caller.peer().ip(), &parts.headers, &self.settings.trusted)
            .inspect_err(|_| {
                let proxy = caller.peer();
                tracing::warn!(ingress = self.name, %proxy, "what a proxy says of its caller cannot be read");
            })?;
        if !provenance.admitted_by(&self.callers) {
            let (caller, peer) = (provenance.caller(), caller.peer());
            tracing::warn!(ingress = self.name, %caller, %peer, "a caller is refused: not allowed");
            return Err(Failure::CallerNotAllowed);
        }
        if !is_coding_undone(&parts.headers) {
            return Err(Failure::TransferCodingUnsupported);
        }
        let wish = Wish::of(&mut parts)?;
        let host = authority(&parts)?;
        let found = resolve(&self.settings, host.as_ref(), parts.uri.path_and_query())?;
        let (service, cluster) = (found.service, found.cluster);
        let link = (self.lookup)(&cluster, &[]).filter(Link::is_open);
        let link = link.ok_or(Failure::ClusterNotConnected)?;
        let protocol = link
            .service_protocol(&service)
            .ok_or(Failure::UnknownService)?;
        if protocol == AppProtocol::Tcp && found.choice == Choice::OfTheCaller {
            return Err(Failure::NotHttp);
        }

        let mut hop = take_hop_by_hop(&mut parts.headers);
        let prefix = found.stripped.as_ref().map(|(prefix, _)| prefix.as_str());
        provenance.announce(&mut parts.headers, host.as_ref(), prefix);
        if let Some((_, path)) = found.stripped {
            // Whom it was for has been read; hyper makes a URI without an authority of a path.
            parts.uri = Uri::from(path);
        }
        let traceparent = trace::keep_or_begin(&mut parts.headers);
        parts.extensions.clear();
        let caller_version = parts.version;
        if caller_version != Version::HTTP_11 {
            hop.upgrade = None;
        }
        // A caller of HTTP/1.0 need not say whom it means.
        let host = found.set_host.or(host);
        let host = host.map_or_else(|| Authority::try_from(service.as_str()), Ok);
        let host = host.map_err(|_| Failure::BadHost)?;
        let switch = match protocol {
            AppProtocol::Tcp | AppProtocol::Http1 => {
                if !body.is_end_stream() {
                    chunk_for_trailers(&mut parts.headers);
                }
                let switch = wish.for_http1(&mut parts, &mut hop)?;
                for_http1(&mut parts, host.as_str(), &hop, !body.is_end_stream());
                switch
            }
            AppProtocol::H2 => {
                let switch = wish.for_http2(&mut parts, &mut hop, body.is_end_stream());
                for_http2(&mut parts, host, &hop);
                switch
            }
        };
        let mut destination = Destination {
            link,
            service,
            protocol,
            traceparent: Some(traceparent),
        };
        let body = RequestBody::new(
            body,
            busy,
            caller.limits().body_timeout,
            caller_version,
            &parts.headers,
        );
        let request = Request::from_parts(parts, body);
        let answer = if switch.is_connect() {
            self.origins.connect(&destination, request).await
        } else {
            // Another session may be in its place by now, which need not expose the same.
            let service = destination.service.clone();
            let lookup = |tried: &[LinkId]| {
                let mut tried = tried.to_vec();
                loop {
                    let link = (self.lookup)(&cluster, &tried).filter(Link::is_open)?;
                    if link.service_protocol(&service) == Some(protocol) {
                        return Some(link);
                    }
                    tried.push(link.id());
                }
            };
            let destination = &mut destination;
            self.origins.exchange(destination, request, lookup).await
        };
        let response = answer.inspect_err(|failure| {
            let (ingress, service, code) = (&self.name, &destination.service, failure.code());
            tracing::debug!(ingress, %cluster, %service, code, "request failed");
        })?;
        let (mut parts, body) = response.into_parts();
        let agreement = switch.judge(&mut parts)?;
        for_caller(&mut parts, agreement == Agreement::Switched);
        if caller_version == Version::HTTP_11 && hop.trailers && !body.is_empty() {
            chunk_for_trailers(&mut parts.headers);
        }
        let link = match agreement {
            Agreement::No => None,
            Agreement::Switched => {
                switch.announce(&mut parts);
                Some(destination.link)
            }
        };
        Ok((Response::from_parts(parts, body), link))
    }
}

/// Trailers need chunks over HTTP/1.1, also where HTTP/2 had a length (RFC 9112 §7.1.2). hyper sends
/// those that are announced (RFC 9110 §6.6.2).
fn chunk_for_trailers(headers: &mut HeaderMap) {
    if headers.contains_key(TRAILER) {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}
