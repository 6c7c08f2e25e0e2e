//! What one TCP connection gets over each link of the ladder, by plain sockets. As root:
//! `cargo run --release --package chaos --example wire [LINK]… [--seconds N]`. With `--stay`, two hosts with
//! the first of these links between them instead, until Ctrl-C: it prints what to try.

#[cfg(target_os = "linux")]
fn main() {
    if let Err(error) = linux::run() {
        eprintln!("wire: {error}");
        std::process::exit(1);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("wire: network namespaces are Linux's");
    std::process::exit(1);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        error::Error,
        fs,
        io::{self, Read, Write},
        net::{Shutdown, TcpListener, TcpStream},
        thread,
        time::{Duration, Instant},
    };

    use chaos::{
        net::{Settings, Topology, control::Controlling},
        wire::{
            Link, Way,
            ladder::{LADDER, Rung},
        },
    };
    use relay::settings::ListenAddr;

    /// What the command line says.
    struct Arguments {
        links: Vec<Rung>,
        duration: Duration,
        stays: bool,
    }

    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let Arguments {
            links,
            duration,
            stays,
        } = arguments()?;
        if stays {
            stay(links[0])
        } else {
            measure(&links, duration)
        }
    }

    /// Two hosts and a wire, to be tried by hand.
    fn stay(rung: Rung) -> Result<(), Box<dyn Error>> {
        tracing_subscriber::fmt().with_writer(io::stderr).init();
        let topology = Topology::create()?;
        let client = topology.add_host("client")?;
        let server = topology.add_host("server")?;
        let settings = Settings {
            link: rung.link,
            ..Settings::default()
        };
        let wire = topology.lay_wire("client", "server", settings)?;
        let control =
            Controlling::begin(&ListenAddr::Ip("127.0.0.1:0".parse()?), topology.wires())?;
        let url = format!("http://{}/wires", control.address());
        println!("link     {}", rung.name);
        println!("client   {} {}", client.v4(), client.v6());
        println!("server   {} {}", server.v4(), server.v6());
        println!();
        println!(
            "Try      nsenter --net={} ping {}",
            client.path(),
            server.v4()
        );
        println!(
            "         nsenter --net={} python3 -m http.server",
            server.path()
        );
        println!("         curl -s {url}");
        let one = format!("{url}/{}", wire.name());
        println!("         curl -s {one} -X PATCH -d '{{\"loss\": \"20%\"}}'");
        println!(
            "         curl -s {one}/up -X PUT -d '{{\"delay\": \"100ms\", \"rate\": \"1Mbit\"}}'"
        );
        println!("         curl -s {one} -X PUT -d '{{\"link\": \"satellite\"}}'");
        println!("         curl -s {one}/cut -X PUT");
        println!("         curl -s {one}/cut -X DELETE");
        println!(
            "         curl -s http://{}/   everything it answers",
            control.address()
        );
        println!();
        println!("Ctrl-C ends it.");
        loop {
            thread::park();
        }
    }

    fn measure(links: &[Rung], duration: Duration) -> Result<(), Box<dyn Error>> {
        // On links that lose packets it decides more than anything else.
        let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
        println!("TCP's congestion control is {}", control.trim());
        println!(
            "{:<14} {:>10} {:>10} {:>10}",
            "link", "connect", "up", "down"
        );
        println!("{:<14} {:>10} {:>10} {:>10}", "", "ms", "Mbit/s", "Mbit/s");
        for rung in links {
            let (connect, up) = transfer(rung.link, Way::Up, duration)?;
            let (_, down) = transfer(rung.link, Way::Down, duration)?;
            let connect = connect.as_secs_f64() * 1e3;
            println!("{:<14} {connect:>10.1} {up:>10.1} {down:>10.1}", rung.name);
        }
        Ok(())
    }

    fn arguments() -> Result<Arguments, Box<dyn Error>> {
        let (mut links, mut seconds, mut stays) = (Vec::new(), 5, false);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--seconds" {
                seconds = words.next().unwrap_or_default().parse()?;
            } else if word == "--stay" {
                stays = true;
            } else if let Some(rung) = LADDER.iter().find(|rung| rung.name == word) {
                links.push(*rung);
            } else {
                return Err(format!("there is no link {word}").into());
            }
        }
        if links.is_empty() {
            links.extend(LADDER);
        }
        Ok(Arguments {
            links,
            duration: Duration::from_secs(seconds),
            stays,
        })
    }

    /// How long connecting took, and at how many Mbit/s bytes came out of one TCP connection.
    fn transfer(
        link: Link,
        way: Way,
        duration: Duration,
    ) -> Result<(Duration, f64), Box<dyn Error>> {
        let topology = Topology::create()?;
        let client = topology.add_host("client")?;
        let server = topology.add_host("server")?;
        let settings = Settings {
            link,
            ..Settings::default()
        };
        topology.lay_wire("client", "server", settings)?;
        let listener = server.within(|| TcpListener::bind((server.v4(), 0)))?;
        let address = listener.local_addr()?;
        let began = Instant::now();
        let near = client.within(|| TcpStream::connect(address))?;
        let connect = began.elapsed();
        let (far, _) = listener.accept()?;
        let (mut sender, mut receiver) = match way {
            Way::Up => (near, far),
            Way::Down => (far, near),
        };
        let ending = sender.try_clone()?;
        let sending = thread::spawn(move || while sender.write_all(&[7; 65_536]).is_ok() {});
        let received = receive(&mut receiver, duration);
        ending.shutdown(Shutdown::Both)?;
        sending.join().map_err(|_| "the sender panicked")?;
        Ok((connect, received?))
    }

    /// Mbit/s, from the first byte on.
    fn receive(stream: &mut TcpStream, duration: Duration) -> io::Result<f64> {
        let mut buffer = vec![0; 262_144];
        stream.read_exact(&mut buffer[..1])?;
        let began = Instant::now();
        let mut bytes = 0;
        while began.elapsed() < duration {
            bytes += stream.read(&mut buffer)?;
        }
        Ok(bytes as f64 * 8.0 / 1e6 / began.elapsed().as_secs_f64())
    }
}
