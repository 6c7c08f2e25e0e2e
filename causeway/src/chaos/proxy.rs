//! `causeway chaos proxy`: a fault proxy in front of any server.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::chaos::control::{Control, ControlError};
use ::chaos::proxy::control::Handle;
use ::chaos::proxy::{Faults, Options, Placed, Protocols, Proxy, Timeline, Totals};
use anyhow::Context;
use relay::settings::{Host, HostPort, ListenAddr, format_size, parse_size};
use serde_json::json;

use crate::check::EXIT_CONFIGURATION;
use crate::logging::{self, Format};
use crate::pair::Stop;
use crate::status::put;

/// What can wait in each direction of a connection, unless said otherwise.
const BUFFER: &str = "1MiB";

/// Stand in front of any TCP or UDP server, and pass on what is said as a bad network would.
///
/// Point your clients at --listen instead of at the server. Without faults nothing is changed. Faults
/// come from --fault, from a file with --timeline, and while it runs by HTTP from --control: it prints
/// commands to copy. `causeway chaos list` shows all faults.
///
/// What it says later, on stderr, is for people; with --json each line there is a JSON object.
///
/// Exit status: 0 stopped by Ctrl-C or SIGTERM; 2 wrong arguments or a wrong timeline; 1 anything else.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  A redis that answers late:
    causeway chaos proxy --listen 127.0.0.1:6380 --to 127.0.0.1:6379 \\
      --fault 'down latency delay=250ms'
    redis-cli -p 6380 ping
  A name server on a line that loses every tenth datagram:
    causeway chaos proxy --udp --listen 127.0.0.1:5300 --to 9.9.9.9:53 --fault 'loss rate=10%'
    dig -p 5300 @127.0.0.1 example.com
  Faults by the clock:
    causeway chaos proxy --listen 127.0.0.1:8081 --to 127.0.0.1:8080 --timeline train.txt
  where train.txt is
    at 0s           latency delay=80ms jitter=30ms
    at 10s for 5s   cut
    at 20s for 30s  up bandwidth rate=16KiB
    repeat every 60s")]
pub(crate) struct ProxyArgs {
    /// Where clients connect; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = listen_address)]
    listen: SocketAddr,
    /// The server, which is looked up anew for each connection
    #[arg(long, value_name = "HOST:PORT")]
    to: HostPort,
    /// Pass TCP only; without this or --udp: both, at the same port number
    #[arg(long)]
    tcp: bool,
    /// Pass UDP only
    #[arg(long, conflicts_with = "tcp")]
    udp: bool,
    /// A fault from the beginning, such as 'latency delay=80ms' or 'up cut'; can be repeated
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Placed>,
    /// Faults by the clock, from this file: at TIME for TIME FAULT, at TIME clear FAULT, repeat every TIME
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Where faults are changed while it runs, by HTTP: a loopback address (port 0: any free one) or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = control_address)]
    control: ListenAddr,
    /// Repeats the random decisions of an earlier run, which printed it [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The most that waits in each direction of each connection: no more than this passes within one delay
    #[arg(long, value_name = "SIZE", default_value = BUFFER, value_parser = buffer)]
    buffer: usize,
    /// The most TCP connections, beyond which new ones wait, and the most UDP callers, beyond which
    /// the one that was silent longest is forgotten
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_connections: u32,
    /// Print one JSON document with the addresses, and log in JSON lines
    #[arg(long)]
    json: bool,
}

/// Runs `causeway chaos proxy`.
pub(super) fn run(args: ProxyArgs) -> anyhow::Result<ExitCode> {
    // As the addresses are printed: whoever sends both to one place finds one kind of lines there.
    let format = if args.json {
        Format::Json
    } else {
        Format::ForPeople
    };
    let logging = match logging::start_as(format) {
        Ok(logging) => logging,
        Err(problem) => {
            eprintln!("error: {problem}");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    relay::descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    Ok(match runtime.block_on(serve(args, format)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(NotServed::Wrong(why)) => {
            logging.last_words(&why);
            ExitCode::from(EXIT_CONFIGURATION)
        }
        Err(NotServed::Failed(error)) => {
            logging.last_words(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    })
}

/// Why there is no proxy.
enum NotServed {
    /// The arguments, or the timeline.
    Wrong(String),
    /// The system.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for NotServed {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

async fn serve(args: ProxyArgs, format: Format) -> Result<(), NotServed> {
    let mut stop = Stop::new()?;
    let protocols = match (args.tcp, args.udp) {
        (true, _) => Protocols::Tcp,
        (_, true) => Protocols::Udp,
        (false, false) => Protocols::Both,
    };
    let options = Options {
        seed: args.seed.unwrap_or_else(any_seed),
        buffer: args.buffer,
        max_connections: usize::try_from(args.max_connections).unwrap_or(usize::MAX),
    };
    let (faults, timeline) = prepare(&args, protocols).map_err(NotServed::Wrong)?;
    let control = Control::bind(&args.control, "--control").map_err(|error| match error {
        ControlError::NotLocal { .. } => NotServed::Wrong(error.to_string()),
        ControlError::Bind(_) => NotServed::Failed(error.into()),
    })?;
    let (to, key) = (args.to.clone(), "--listen");
    let proxy = Proxy::bind(args.listen, to, faults.clone(), options, key);
    let proxy = proxy.map_err(anyhow::Error::from)?;
    let begun = Begun {
        listen: proxy.address(),
        to: &args.to,
        protocols,
        control: control.address(),
        seed: options.seed,
        faults: &args.fault,
    };
    let told = put(&if args.json {
        begun.json()
    } else {
        begun.text()
    });
    told.map_err(anyhow::Error::from)?;
    let observer = proxy.observer();
    let handle = Handle::of(&proxy);
    let clock = async {
        if let Some(timeline) = timeline {
            timeline.run(faults).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = stop.told() => {}
        () = proxy.run() => {}
        () = control.serve(handle) => {}
        () = clock => {}
    }
    say_totals(&observer.totals(), format);
    Ok(())
}

fn say_totals(totals: &Totals, format: Format) {
    let Totals {
        connections,
        bytes_up,
        bytes_down,
        datagrams_dropped,
        ..
    } = *totals;
    match format {
        Format::ForPeople => eprintln!(
            "stopped: {connections} connections, {} up, {} down, {datagrams_dropped} datagrams not passed on",
            shown(bytes_up),
            shown(bytes_down),
        ),
        Format::Json => tracing::info!(
            connections,
            bytes_up,
            bytes_down,
            datagrams_dropped,
            "stopped"
        ),
    }
}

/// What is said once everything is bound.
struct Begun<'a> {
    listen: SocketAddr,
    to: &'a HostPort,
    protocols: Protocols,
    control: ListenAddr,
    seed: u64,
    faults: &'a [Placed],
}

impl Begun<'_> {
    fn json(&self) -> String {
        let control = match &self.control {
            ListenAddr::Ip(address) => format!("http://{address}"),
            ListenAddr::Unix(path) => format!("unix:{}", path.display()),
        };
        let document = json!({
            "listen": self.listen.to_string(),
            "to": self.to.to_string(),
            "control": control,
            "seed": self.seed,
        });
        format!("{document}\n")
    }

    fn text(&self) -> String {
        let faults = match self.faults {
            [] => "none yet".to_owned(),
            faults => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                faults.join(", ")
            }
        };
        let mut text = String::new();
        let _ = write!(
            text,
            "\
passes  {} at {} to {}
faults  {faults}
seed    {}

Try     {} -X PUT -d '{{\"delay\": \"250ms\"}}'
        {} -X PUT
        {} -X DELETE
        {}
        {}   everything it answers
        causeway chaos list   every fault and its parameters

Ctrl-C stops it.
",
            self.protocols,
            self.listen,
            self.to,
            self.seed,
            self.curl("/faults/latency"),
            self.curl("/faults/cut?for=10s"),
            self.curl("/faults"),
            self.curl("/connections"),
            self.curl("/"),
        );
        text
    }

    /// A command that asks for a path.
    fn curl(&self, path: &str) -> String {
        match &self.control {
            ListenAddr::Ip(address) => format!("curl 'http://{address}{path}'"),
            ListenAddr::Unix(socket) => {
                let socket = socket.display();
                format!("curl --unix-socket {socket} 'http://localhost{path}'")
            }
        }
    }
}

/// What can be wrong without anything being bound.
fn prepare(args: &ProxyArgs, protocols: Protocols) -> Result<(Faults, Option<Timeline>), String> {
    if leads_to(args.listen, &args.to) {
        return Err(format!(
            "--to {} is where --listen is: write where the server listens, and another port for --listen",
            args.to
        ));
    }
    let faults = Faults::none(protocols);
    for fault in &args.fault {
        faults
            .set(*fault)
            .map_err(|error| format!("--fault '{fault}': {error}"))?;
    }
    let file = args.timeline.as_deref();
    let timeline = file.map(|file| read(file, &faults)).transpose()?;
    Ok((faults, timeline))
}

/// Whether who dials there reaches who listens there. A name is asked for what it means now; one that
/// means nothing yet leads nowhere yet.
fn leads_to(listen: SocketAddr, to: &HostPort) -> bool {
    if listen.port() != to.port {
        return false;
    }
    let addresses: Vec<IpAddr> = match &to.host {
        Host::Ip(ip) => vec![*ip],
        Host::Name(name) => match (name.as_str(), to.port).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(_) => Vec::new(),
        },
    };
    let listens = ListenAddr::Ip(listen);
    addresses.into_iter().any(|ip| {
        let is_in_reach = listens.overlaps(&ListenAddr::Ip((ip, to.port).into()));
        // Who listens at all addresses of this machine listens at no other's.
        is_in_reach && (!listen.ip().is_unspecified() || is_this_machines(ip))
    })
}

/// Whether an address is one of this machine: then it is also where one comes from who goes there.
/// Connecting a UDP socket sends nothing.
fn is_this_machines(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let any_port_of_any = match ip {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    let source = UdpSocket::bind(any_port_of_any).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    ip.is_unspecified() || ip.is_loopback() || source.is_ok_and(|source| source.ip() == ip)
}

fn read(file: &Path, faults: &Faults) -> Result<Timeline, String> {
    let name = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("--timeline {name}: {error}"))?;
    let timeline = Timeline::parse(&text).and_then(|timeline| {
        timeline.check(faults)?;
        Ok(timeline)
    });
    timeline.map_err(|error| format!("--timeline {name}: {error}"))
}

/// Short enough to be typed again.
fn any_seed() -> u64 {
    u64::from(rand::random::<u32>())
}

/// A number of bytes for people.
pub(super) fn shown(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(size, _)| bytes >= *size);
    match unit {
        Some((size, name)) => format!("{:.1} {name}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(
        |_| "write an IP address and a port, such as 127.0.0.1:6380 (port 0: any free one)",
    )
}

fn control_address(text: &str) -> Result<ListenAddr, String> {
    let here = std::env::current_dir().map_err(|error| format!("no current directory: {error}"))?;
    ListenAddr::parse(text, &here).map_err(|error| error.to_string())
}

fn buffer(text: &str) -> Result<usize, String> {
    const LEAST: u64 = 16 << 10;
    let size = parse_size(text).map_err(|error| error.to_string())?;
    match usize::try_from(size) {
        Ok(bytes) if (LEAST..=1 << 30).contains(&size) => Ok(bytes),
        Ok(_) | Err(_) => Err(format!(
            "from {} to {}",
            format_size(LEAST),
            format_size(1 << 30)
        )),
    }
}

#[cfg(test)]
mod tests;
