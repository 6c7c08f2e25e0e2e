//! What to open and what to try: commands that work as they stand.

use std::fmt::Write;

use relay::origin::Target;

use super::probe::Outcome;
use super::report::Report;
use crate::pair::{Exposed, Style, Way};
use crate::status::printable;

/// Something to open or to type, and what it is good for.
type Hint = (String, String);

impl Report {
    /// What to do next, and where everything is.
    pub(super) fn next(&self, style: Style) -> String {
        let mut text = String::new();
        for (heading, hints) in [("Open", self.pages()), ("Try", self.commands())] {
            let width = hints.iter().map(|(what, _)| what.chars().count()).max();
            let width = width.unwrap_or_default();
            for (at, (what, why)) in hints.iter().enumerate() {
                let heading = if at == 0 { heading } else { "" };
                let heading = style.bold(&format!("{heading:4}"));
                let what = printable(what);
                let _ = match why.as_str() {
                    "" => writeln!(text, "{heading}  {what}"),
                    why => {
                        let why = style.dim(&printable(why));
                        writeln!(text, "{heading}  {what:width$}  {why}")
                    }
                };
            }
            if !hints.is_empty() {
                text.push('\n');
            }
        }
        let dir = printable(&self.dir.to_string_lossy());
        let lines = [
            format!(
                "Everything is in {dir}: edge.toml and client.toml, which you may change while"
            ),
            "they are used, edge.log and client.log. Ctrl-C stops both processes.".to_owned(),
        ];
        for line in lines {
            let _ = writeln!(text, "{}", style.dim(&line));
        }
        text
    }

    fn pages(&self) -> Vec<Hint> {
        let several = self.exposed.len() > 1;
        let why = |target: &str| {
            if several {
                target.to_owned()
            } else {
                String::new()
            }
        };
        self.exposed
            .iter()
            .filter(|(it, _)| is_page(it))
            .filter_map(|(it, _)| Some((it.way.url()?, why(&it.target))))
            .collect()
    }

    fn commands(&self) -> Vec<Hint> {
        let mut hints = Vec::new();
        let answers = |outcome: &Outcome| matches!(outcome, Outcome::Answered { .. });
        let mut pages = self.exposed.iter().filter(|(it, _)| is_page(it));
        if let Some((it, _)) = pages.find(|(_, outcome)| answers(outcome)) {
            let url = it.way.url().unwrap_or_default();
            hints.push((format!("curl -i {url}"), "the same in a shell".to_owned()));
        }
        for (exposed, _) in &self.exposed {
            if let Way::Tcp(address) = exposed.way {
                let command = caller(&exposed.target, &address.to_string());
                hints.push((command, format!("{}, in the compute plane", exposed.name)));
            }
        }
        for (forward, _) in &self.forwarded {
            let target = forward.target.as_deref().unwrap_or_default();
            let command = caller(target, &forward.listen);
            hints.push((command, format!("{}, in the control plane", forward.name)));
        }
        hints.push((self.status(), "what they say of themselves".to_owned()));
        if self.line.is_some() {
            hints.push((
                self.cut(),
                "cuts the tunnel, and shows what happens".to_owned(),
            ));
        }
        if let Some(pid) = self.client_pid {
            let command = format!("kill -STOP {pid}");
            hints.push((
                command,
                "halts the client: no answers until -CONT".to_owned(),
            ));
        }
        if self.forwarded.is_empty() {
            let command = format!("{} quickstart --help", self.program);
            hints.push((command, "your services, the other direction".to_owned()));
        }
        hints
    }

    fn cut(&self) -> String {
        let (program, dir) = (&self.program, self.dir.to_string_lossy());
        if dir == "causeway-demo" {
            format!("{program} chaos cut 10s")
        } else {
            format!("{program} chaos cut 10s --dir {dir}")
        }
    }

    fn status(&self) -> String {
        let (program, edge) = (&self.program, self.edge_admin.to_string());
        let client = self.client_admin.to_string();
        if edge == "http://127.0.0.1:7480" && client == "http://127.0.0.1:7490" {
            format!("{program} status")
        } else {
            format!("{program} status --admin {edge}")
        }
    }
}

fn is_page(exposed: &Exposed) -> bool {
    match exposed.way {
        Way::Http { .. } => true,
        Way::Tcp(_) | Way::Nowhere => false,
    }
}

/// A command that calls what is connected to `target` by way of `listen`.
fn caller(target: &str, listen: &str) -> String {
    let Some((host, port)) = listen
        .rsplit_once(':')
        .filter(|_| !listen.starts_with("unix:"))
    else {
        let path = listen.strip_prefix("unix:").unwrap_or(listen);
        return format!("nc -U {path}");
    };
    let host = host.trim_matches(['[', ']']);
    match target.parse() {
        Ok(Target::Http(_) | Target::Https(_) | Target::Hello) => {
            format!("curl -i http://{listen}")
        }
        Ok(Target::H2c(_)) => format!("curl -i --http2-prior-knowledge http://{listen}"),
        Ok(Target::Tcp(address)) => match address.port {
            22 => format!("ssh -p {port} {host}"),
            5432 => format!("psql -h {host} -p {port} -U postgres"),
            6379 => format!("redis-cli -h {host} -p {port}"),
            0..=u16::MAX => format!("nc {host} {port}"),
        },
        Ok(Target::Unix { .. }) | Err(_) => format!("nc {host} {port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_called_by_its_own_kind_of_program() {
        for (target, listen, command) in [
            (
                "tcp://a:5432",
                "127.0.0.1:1",
                "psql -h 127.0.0.1 -p 1 -U postgres",
            ),
            ("tcp://a:6379", "[::1]:1", "redis-cli -h ::1 -p 1"),
            ("tcp://a:22", "127.0.0.1:1", "ssh -p 1 127.0.0.1"),
            ("tcp://a:80", "127.0.0.1:1", "nc 127.0.0.1 1"),
            ("http://a", "[::1]:1", "curl -i http://[::1]:1"),
            ("unix:///a", "127.0.0.1:1", "nc 127.0.0.1 1"),
            ("tcp://a:5432", "unix:/run/a:b.sock", "nc -U /run/a:b.sock"),
        ] {
            assert_eq!(caller(target, listen), command, "{target}");
        }
    }
}
