//! Listeners that move while the process runs: to an address that takes in the old one, and to one
//! that somebody else has.

use std::{
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use crate::support::{
    CLUSTER, DEADLINE, Origin, Plane, Request, Side, echoes, port_for_server, wait_for,
};

/// Until then, what there was before stays, which the new one overlaps; nobody has to edit the file
/// again, and who has called the old one stays connected.
#[test]
fn a_listener_that_cannot_be_bound_is_tried_again() {
    let mut listeners = Listeners::start();
    let in_the_way = listeners
        .ports
        .map(|port| TcpListener::bind((IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), port)).unwrap());
    listeners.move_to("[::]");
    for side in [Side::Edge, Side::Client] {
        wait_for("the port to be found in use", || {
            let config = &listeners.plane.status(side)["config"];
            config["last_error"]
                .as_str()?
                .contains("address in use")
                .then_some(())
        });
    }
    let mut callers = listeners.call(Ipv4Addr::LOCALHOST.into());
    drop(in_the_way);
    listeners.await_move();
    for side in [Side::Edge, Side::Client] {
        wait_for("nothing to be wrong", || {
            let config = &listeners.plane.status(side)["config"];
            config["last_error"].is_null().then_some(())
        });
    }
    for (_, old) in &mut callers {
        echoes(old);
    }
    listeners.call([0, 0, 0, 0, 0, 0, 0, 1].into());
}

/// A listener of each kind, on one address after another.
struct Listeners {
    plane: Plane,
    /// Of a tcp ingress, an http ingress and a forward.
    ports: [u16; 3],
    /// Where they listen, or shall listen.
    ip: String,
    _echo: Origin,
    _app: Origin,
}

const NAMES: [&str; 3] = ["bytes", "web", "back"];

impl Listeners {
    fn start() -> Self {
        let echo = Origin::echo();
        let app = Origin::http(|_, mut stream| {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let ports = NAMES.map(|_| port_for_server());
        let ingress = |at: usize, kind: &str, service: &str| {
            format!(
                "[[ingress]]\nname = \"{}\"\nkind = \"{kind}\"\nlisten = \"127.0.0.1:{}\"\n\
                 to = \"{CLUSTER}/{service}\"\nanonymous = true\n\n",
                NAMES[at], ports[at]
            )
        };
        let upstream = format!(
            "[[upstream]]\nservice = \"{}\"\ntarget = \"{}\"\nallow = [\"{CLUSTER}\"]\n",
            NAMES[2],
            echo.tcp()
        );
        let forward = format!(
            "[[forward]]\nservice = \"{}\"\nlisten = \"127.0.0.1:{}\"\n",
            NAMES[2], ports[2]
        );
        let plane = Plane::builder()
            .expose("echo", &echo.tcp())
            .expose("app", &app.http_target())
            .edge_toml(&(ingress(0, "tcp", "echo") + &ingress(1, "http", "app") + &upstream))
            .client_toml(&forward)
            .start();
        Self {
            plane,
            ports,
            ip: "127.0.0.1".into(),
            _echo: echo,
            _app: app,
        }
    }

    fn move_to(&mut self, ip: &str) {
        for side in [Side::Edge, Side::Client] {
            let mut file = fs::read_to_string(self.plane.config(side)).unwrap();
            for port in self.ports {
                let (old, new) = (
                    format!("\"{}:{port}\"", self.ip),
                    format!("\"{ip}:{port}\""),
                );
                file = file.replace(&old, &new);
            }
            fs::write(self.plane.config(side), file).unwrap();
        }
        self.ip = ip.into();
        self.plane.edge.signal("HUP");
        self.plane.client.signal("HUP");
    }

    fn await_move(&mut self) {
        let wanted: Vec<SocketAddr> = self
            .ports
            .iter()
            .map(|port| format!("{}:{port}", self.ip).parse().unwrap())
            .collect();
        wait_for("the listeners to move", || {
            let found = [
                self.plane.ingress_addresses(NAMES[0]),
                self.plane.ingress_addresses(NAMES[1]),
                self.plane.forward_addresses(NAMES[2]),
            ];
            (found.concat() == wanted).then_some(())
        });
    }

    /// Calls each of them. Who called the ones for bytes stays.
    fn call(&self, ip: IpAddr) -> Vec<(&'static str, TcpStream)> {
        let web = SocketAddr::new(ip, self.ports[1]);
        let answer = Request::get(web, "/", "app.test").send().unwrap();
        assert_eq!(answer.text().unwrap(), "ok");
        let callers = [0, 2].map(|at| {
            let mut stream = TcpStream::connect((ip, self.ports[at])).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            echoes(&mut stream);
            (NAMES[at], stream)
        });
        callers.into()
    }
}
