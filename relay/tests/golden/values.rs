//! The values that the vectors stand for.

use std::time::Duration;

use bytes::Bytes;
use relay::proto::{
    Ack, AppProtocol, Attach, Attempt, Caller, Close, CloseCode, Continue, ContinueMode, Control,
    Echo, Features, Generation, HealthReason, HealthState, Hello, HelloAck, Instance, Limits, Open,
    Opener, ResetCode, ServiceHealth, ServiceInfo, SessionId, StreamHeader, StreamId, Version,
    VersionRange, WorkerHint,
};

pub(crate) fn control_values() -> Vec<(&'static str, Control)> {
    let ack = |stream, consumed, limit, ended| {
        Control::Ack(Ack {
            stream,
            consumed,
            limit,
            ended,
            stopped: false,
        })
    };
    let hello = |hello| Control::Hello(Box::new(hello));
    let hello_ack = |ack| Control::HelloAck(Box::new(ack));
    let [db, web, queue] = [
        service("db", AppProtocol::Tcp),
        service("web", AppProtocol::Http1),
        service("queue", AppProtocol::H2),
    ];
    let continuing = |attempt, mode| Hello {
        replica: "r-1".parse().unwrap(),
        attempt: Attempt(attempt),
        limits: LIMITS,
        continues: Some(Continue {
            session: SessionId::from_bytes(sixteen_from(0x20)),
            mode,
            proof: Bytes::from_static(&[0xaa; 32]),
        }),
        ..smallest_hello()
    };
    vec![
        (
            "hello",
            hello(Hello {
                features: Features::RESUME,
                software: "causeway/0.1.0".to_owned(),
                replica: "r-1".parse().unwrap(),
                attempt: Attempt(3),
                limits: LIMITS,
                services: vec![db.clone(), web.clone(), queue],
                ..smallest_hello()
            }),
        ),
        ("hello-smallest", hello(smallest_hello())),
        ("hello-join", hello(continuing(4, ContinueMode::Join))),
        ("hello-replace", hello(continuing(5, ContinueMode::Replace))),
        (
            "hello-beside",
            hello(Hello {
                beside: vec![
                    SessionId::from_bytes(sixteen_from(0x20)),
                    SessionId::from_bytes(sixteen_from(0x40)),
                ],
                ..smallest_hello()
            }),
        ),
        (
            "hello-ack",
            hello_ack(HelloAck {
                software: "causeway/0.1.0".to_owned(),
                edge: "edge-1".to_owned(),
                attempt: Attempt(3),
                limits: LIMITS,
                worker_hint: Some(WorkerHint([0xc0, 0xff, 0xee, 0, 0, 1, 0, 2])),
                advertise: vec!["edge-1.example.com:7443".to_owned()],
                ..smallest_ack()
            }),
        ),
        ("hello-ack-smallest", hello_ack(smallest_ack())),
        ("ping", Control::Ping(Echo::short(42))),
        ("ping-padded", Control::Ping(PADDED)),
        ("pong-padded", Control::Pong(PADDED)),
        ("ping-zero", Control::Ping(Echo::short(0))),
        ("pong", Control::Pong(Echo::short(42))),
        ("ack", ack(r(0), 4096, 36864, false)),
        ("ack-ended", ack(r(0), 5000, 36864, true)),
        (
            "ack-stopped",
            Control::Ack(Ack {
                stream: r(0),
                consumed: 5000,
                limit: 36864,
                ended: false,
                stopped: true,
            }),
        ),
        ("ack-of-a-retired-stream", ack(i(0), 0, 0, true)),
        (
            "release",
            Control::Release {
                stream: r(0),
                released: 16384,
            },
        ),
        ("connected", Control::Connected { stream: r(0) }),
        ("fin", fin(r(0), 5000)),
        ("fin-of-nothing", fin(i(0), 0)),
        ("fin-far", fin(i(1 << 40), 1 << 63)),
        (
            "reset",
            reset(r(0), ResetCode::ConnectRefused, "db: connect_refused"),
        ),
        ("reset-cancelled", reset(r(2), ResetCode::Cancelled, "")),
        (
            "drain",
            Control::Drain {
                grace: Duration::from_secs(300),
                opened: 7,
            },
        ),
        (
            "health-report",
            Control::HealthReport(vec![db, web.clone()]),
        ),
        (
            "health-report-with-health",
            Control::HealthReport(vec![ServiceInfo {
                health: Some(ServiceHealth {
                    state: HealthState::Failing,
                    lasting: Duration::from_secs(5),
                    reason: Some(HealthReason::HttpStatus),
                    detail: "503".to_owned(),
                }),
                ..web
            }]),
        ),
        ("health-report-of-nothing", Control::HealthReport(vec![])),
        (
            "edge-list",
            Control::EdgeList(vec![
                "edge-1.example.com:443".to_owned(),
                "[2001:db8::1]:7443".to_owned(),
            ]),
        ),
        ("edge-list-of-nothing", Control::EdgeList(vec![])),
        (
            "close",
            close(CloseCode::Overload, "full", Some(Duration::from_secs(5))),
        ),
        ("close-shutdown", close(CloseCode::Shutdown, "", None)),
    ]
}

pub(crate) fn header_values() -> Vec<(&'static str, StreamHeader)> {
    let open = |stream, service: &str, principal: &str, address: Option<&str>| Open {
        stream,
        service: service.parse().unwrap(),
        caller: Caller {
            principal: principal.to_owned(),
            address: address.map(|address| address.parse().unwrap()),
        },
        traceparent: None,
        resumable: false,
        generation: Generation(0),
    };
    let attach = |stream, generation, received, start| {
        StreamHeader::Attach(Attach {
            stream,
            generation: Generation(generation),
            received,
            start,
        })
    };
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    vec![
        (
            "open",
            StreamHeader::Open(Open {
                traceparent: Some(traced.to_owned()),
                ..open(r(0), "db", "ingress/web", Some("192.0.2.7:51000"))
            }),
        ),
        (
            "open-smallest",
            StreamHeader::Open(open(i(0), "db", "", None)),
        ),
        (
            "open-ipv6-resumable",
            StreamHeader::Open(Open {
                resumable: true,
                ..open(i(1), "state", "forward/state", Some("[2001:db8::7]:51000"))
            }),
        ),
        ("attach", attach(r(0), 1, 70000, 12288)),
        ("attach-smallest", attach(i(0), 0, 0, 0)),
    ]
}

const PADDED: Echo = Echo {
    nonce: 42,
    padding: 5,
};

const LIMITS: Limits = Limits {
    stream_base: 16384,
    max_streams: 16384,
    grace: Duration::from_secs(120),
};

const NO_LIMITS: Limits = Limits {
    stream_base: 0,
    max_streams: 0,
    grace: Duration::ZERO,
};

pub(crate) fn smallest_hello() -> Hello {
    Hello {
        versions: versions(1, 1),
        features: Features(0),
        software: String::new(),
        replica: "r".parse().unwrap(),
        instance: Instance::from_bytes(sixteen_from(0x10)),
        attempt: Attempt(0),
        limits: NO_LIMITS,
        services: Vec::new(),
        continues: None,
        beside: Vec::new(),
    }
}

fn smallest_ack() -> HelloAck {
    HelloAck {
        version: Version(1),
        features: Features(0),
        software: String::new(),
        edge: String::new(),
        instance: Instance::from_bytes(sixteen_from(0x30)),
        session: SessionId::from_bytes(sixteen_from(0x20)),
        attempt: Attempt(0),
        limits: NO_LIMITS,
        worker_hint: None,
        advertise: Vec::new(),
    }
}

pub(crate) fn i(index: u64) -> StreamId {
    StreamId::new(Opener::Initiator, index)
}

pub(crate) fn r(index: u64) -> StreamId {
    StreamId::new(Opener::Responder, index)
}

pub(crate) fn versions(min: u32, max: u32) -> VersionRange {
    VersionRange {
        min: Version(min),
        max: Version(max),
    }
}

pub(crate) fn service(name: &str, protocol: AppProtocol) -> ServiceInfo {
    ServiceInfo {
        name: name.parse().unwrap(),
        protocol,
        health: None,
    }
}

pub(crate) fn fin(stream: StreamId, last: u64) -> Control {
    Control::Fin { stream, last }
}

pub(crate) fn reset(stream: StreamId, code: ResetCode, message: &str) -> Control {
    Control::Reset {
        stream,
        code,
        message: message.to_owned(),
    }
}

pub(crate) fn close(code: CloseCode, message: &str, retry_after: Option<Duration>) -> Control {
    Control::Close(Close {
        code,
        message: message.to_owned(),
        retry_after,
    })
}

fn sixteen_from(first: u8) -> [u8; 16] {
    std::array::from_fn(|index| first + index as u8)
}
