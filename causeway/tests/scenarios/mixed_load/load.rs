//! One round of load: every kind at once, each again and again until the round is over. What
//! should succeed fails the test when it does not.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    ops::AddAssign,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::peers::{Generator, LARGE, redis_benchmark, wrk};
use crate::support::{
    DEADLINE, Pattern, Plane, Request, pattern_digest, peer, read_digest, reset_on_close,
};

/// How much the bulk of one stream is.
pub(super) const BULK: u64 = 8 << 20;

/// In how many pieces a slow reader takes what it is sent, over a whole round.
const SIPS: u32 = 8;

/// The generators, and where they reach the services.
pub(super) struct Load {
    wrk: PathBuf,
    redis_benchmark: PathBuf,
    grpc: Generator,
    websocket: Generator,
    /// By the ingress, and by the forward.
    site: [SocketAddr; 2],
    redis: [SocketAddr; 2],
    echo: [SocketAddr; 2],
    sink: [SocketAddr; 2],
    source: [SocketAddr; 2],
    large: String,
    bulk: String,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) requests: u64,
    pub(super) calls: u64,
    pub(super) messages: u64,
    pub(super) commands: u64,
    /// Bulk transfers whose digest was right.
    pub(super) transfers: u64,
    /// What callers cut: resets, cancelled requests and calls, connections broken off.
    pub(super) cut: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.calls += other.calls;
        self.messages += other.messages;
        self.commands += other.commands;
        self.transfers += other.transfers;
        self.cut += other.cut;
    }
}

impl Load {
    pub(super) fn prepare(plane: &mut Plane) -> Option<Self> {
        let mut both = |service: &str| [plane.ingress(service), plane.forward(service)];
        let [grpc, websocket] = [both("grpc"), both("websocket")];
        Some(Self {
            wrk: peer("wrk")?,
            redis_benchmark: peer("redis-benchmark")?,
            grpc: Generator::start("grpc_load.py", &grpc),
            websocket: Generator::start("ws_load.py", &websocket),
            site: both("site"),
            redis: both("redis"),
            echo: both("echo"),
            sink: both("sink"),
            source: both("source"),
            large: pattern_digest(LARGE),
            bulk: pattern_digest(BULK),
        })
    }

    /// Loads for so many seconds, while `watch` is called from time to time.
    pub(super) fn round(&mut self, seconds: u64, mut watch: impl FnMut()) -> Done {
        let round = Round {
            seconds,
            until: Instant::now() + Duration::from_secs(seconds),
        };
        let Self {
            grpc, websocket, ..
        } = self;
        let calling = || {
            let (calls, cut) = grpc.round(seconds);
            Done {
                calls,
                cut,
                ..Done::default()
            }
        };
        let chatting = || {
            let (messages, cut) = websocket.round(seconds);
            Done {
                messages,
                cut,
                ..Done::default()
            }
        };
        let plain = &Plain {
            wrk: &self.wrk,
            redis_benchmark: &self.redis_benchmark,
            large: &self.large,
            bulk: &self.bulk,
            round,
        };
        thread::scope(|scope| {
            let mut loads = vec![scope.spawn(calling), scope.spawn(chatting)];
            for way in 0..2 {
                let (site, redis, echo) = (self.site[way], self.redis[way], self.echo[way]);
                let (sink, source) = (self.sink[way], self.source[way]);
                loads.push(scope.spawn(move || plain.keep_alive(site)));
                loads.push(scope.spawn(move || plain.redis(redis)));
                loads.push(scope.spawn(move || plain.http(site, way)));
                loads.push(scope.spawn(move || plain.bulk(sink, source, echo)));
                loads.push(scope.spawn(move || plain.cut(site, echo)));
                loads.push(scope.spawn(move || plain.slow_reader(source)));
            }
            while !loads.iter().all(thread::ScopedJoinHandle::is_finished) {
                watch();
            }
            let mut all = Done::default();
            for load in loads {
                all += load.join().unwrap();
            }
            all
        })
    }
}

#[derive(Clone, Copy)]
struct Round {
    seconds: u64,
    until: Instant,
}

impl Round {
    fn goes_on(self) -> bool {
        Instant::now() < self.until
    }
}

/// The load that needs no generator which stays.
struct Plain<'a> {
    wrk: &'a PathBuf,
    redis_benchmark: &'a PathBuf,
    large: &'a str,
    bulk: &'a str,
    round: Round,
}

impl Plain<'_> {
    fn keep_alive(&self, site: SocketAddr) -> Done {
        Done {
            requests: wrk(self.wrk, site, self.round.seconds),
            ..Done::default()
        }
    }

    fn redis(&self, redis: SocketAddr) -> Done {
        let mut done = Done::default();
        while self.round.goes_on() {
            done.commands += redis_benchmark(self.redis_benchmark, redis);
        }
        done
    }

    /// A file goes up by `PUT` and comes back by `GET`, as it was.
    fn http(&self, site: SocketAddr, way: usize) -> Done {
        let path = format!("/put/{way}");
        let mut done = Done::default();
        while self.round.goes_on() {
            let put = Request::new(site, "PUT", &path, "site.test");
            let put = put.send_body(LARGE, Pattern::new(LARGE)).unwrap();
            assert!(matches!(put.status, 201 | 204), "PUT {path}: {put:?}");
            for path in [&path, "/large"] {
                let got = Request::get(site, path, "site.test").send().unwrap();
                assert_eq!(got.status, 200, "GET {path}: {got:?}");
                assert_eq!(read_digest(got).unwrap(), (LARGE, self.large.to_owned()));
            }
            done.requests += 3;
        }
        done
    }

    /// Up, down, and both ways at once.
    fn bulk(&self, sink: SocketAddr, source: SocketAddr, echo: SocketAddr) -> Done {
        let mut done = Done::default();
        while self.round.goes_on() {
            let mut up = dial(sink);
            send_bulk(&mut up);
            let mut answer = String::new();
            up.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, format!("{BULK} {}\n", self.bulk));

            self.is_bulk(&dial(source));

            let both = dial(echo);
            let mut writer = both.try_clone().unwrap();
            thread::scope(|scope| {
                scope.spawn(move || send_bulk(&mut writer));
                self.is_bulk(&both);
            });
            done.transfers += 3;
        }
        done
    }

    /// Callers that go away in the middle, in every way there is.
    fn cut(&self, site: SocketAddr, echo: SocketAddr) -> Done {
        let mut done = Done::default();
        while self.round.goes_on() {
            // Reset before anything was said, and after a part of what was sent came back.
            for say in [0, 100_000] {
                let mut stream = dial(echo);
                stream.write_all(&vec![b'x'; say]).unwrap();
                stream.read_exact(&mut vec![0; say / 2]).unwrap();
                reset_on_close(&stream);
            }
            // Gone after a part of the answer.
            let mut answer = Request::get(site, "/large", "site.test").send().unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.read_exact(&mut [0; 100_000]).unwrap();
            drop(answer);
            // Gone after a part of the request.
            let put = Request::new(site, "PUT", "/put/never", "site.test");
            let put = put.header("content-length", &LARGE.to_string());
            let mut put = put.connect().unwrap();
            io::copy(&mut Pattern::new(100_000), &mut put).unwrap();
            drop(put);
            done.cut += 4;
        }
        done
    }

    /// Takes one stream over the whole round, a part at a time.
    fn slow_reader(&self, source: SocketAddr) -> Done {
        let stream = dial(source);
        let pause = Duration::from_secs(self.round.seconds) / SIPS;
        let sip = BULK / u64::from(SIPS);
        let mut got = Vec::new();
        for _ in 0..SIPS {
            (&stream).take(sip).read_to_end(&mut got).unwrap();
            // To be slow is what this reader is for.
            thread::sleep(pause);
        }
        let digest = read_digest(got.as_slice()).unwrap();
        assert_eq!(digest, (BULK, self.bulk.to_owned()));
        assert_eq!((&stream).read(&mut [0]).unwrap(), 0);
        Done {
            transfers: 1,
            ..Done::default()
        }
    }

    #[track_caller]
    fn is_bulk(&self, from: &TcpStream) {
        assert_eq!(read_digest(from).unwrap(), (BULK, self.bulk.to_owned()));
    }
}

fn send_bulk(to: &mut TcpStream) {
    io::copy(&mut Pattern::new(BULK), to).unwrap();
    to.shutdown(Shutdown::Write).unwrap();
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}
