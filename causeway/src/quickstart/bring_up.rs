//! From a plan to traffic, step by step; whatever fails says which step, why, and what the process
//! in question logged last.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use relay::origin::Target;
use relay::proto::AppProtocol;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::line::Line;
use super::plan::Plan;
use super::probe::{self, Outcome};
use super::report::Report;
use super::{files, sockets};
use crate::config::Kind;
use crate::pair::{
    Author, Directory, Exposed, Failure, Forwarded, Pair, Progress, Step, Way, ask, bound, exposed,
    forwarded, joined, start, tunnel_address,
};

/// For everything, from the first file to the client having joined.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes everything, starts both processes into `pair`, what is between them into `between`, and
/// waits until traffic flows.
pub(super) async fn bring_up(
    plan: &Plan,
    directory: &Directory,
    pair: &mut Pair,
    between: &mut Option<Line>,
    progress: &Progress,
) -> Result<Report, Failure> {
    let deadline = Instant::now() + PATIENCE;
    progress.step("making the authority and certificates");
    let vouched = directory.vouch()?;
    let mut edited = Vec::new();

    progress.step("starting the edge");
    edited.extend(write(directory, Kind::Edge, &files::edge(plan))?);
    let edge = pair.edge.insert(start(Kind::Edge, directory)?);
    let edge_admin = bound(edge, deadline).await?;
    let edge_status = ask(&edge_admin, Step::Edge).await?;
    let tunnel = tunnel_address(&edge_status)
        .ok_or_else(|| Failure::new(Step::Edge, "it does not say where it takes clients"))?;

    if let Some(listen) = plan.line {
        *between = Some(Line::start(listen, tunnel, directory)?);
    }
    let line = between.as_ref().map(Line::address);
    let dialled = line.unwrap_or(tunnel);

    progress.step("starting the client");
    edited.extend(write(
        directory,
        Kind::Client,
        &files::client(plan, dialled),
    )?);
    let client = pair.client.insert(start(Kind::Client, directory)?);
    let client_admin = bound(client, deadline).await?;
    let client_pid = client.pid();
    if let Some(between) = between {
        between.controlled(&edge_admin, &client_admin);
    }

    let running = async {
        progress.step("waiting for the client to join");
        joined(&edge_admin, &client_admin, deadline, progress)
            .await
            .map_err(|keeps| {
                let failure = Failure::new(Step::Join, keeps).logged(&directory.log(Kind::Client));
                if edited.is_empty() {
                    failure
                } else {
                    failure.hint(&foreign_files(&edited, dialled))
                }
            })?;
        progress.step("trying a round trip");
        let edge_status = ask(&edge_admin, Step::RoundTrip).await?;
        let client_status = ask(&client_admin, Step::RoundTrip).await?;
        let exposed = exposed(&edge_status, &client_status);
        let forwarded = forwarded(&edge_status, &client_status);
        let exposed = outcomes(exposed, call_exposed).await;
        let forwarded = outcomes(forwarded, call_forwarded).await;
        hello_answers(&exposed).map_err(|failure| failure.logged(&directory.log(Kind::Edge)))?;
        Ok(Report {
            dir: directory.path().to_owned(),
            program: program(),
            vouched,
            // Again, since the round trips have made its measurements better.
            edge: ask(&edge_admin, Step::RoundTrip).await?,
            tunnel,
            line,
            sockets: match client_pid {
                Some(pid) => sockets::of(pid),
                None => Err(std::io::ErrorKind::NotFound.into()),
            },
            edge_admin,
            client_admin,
            client_pid,
            exposed,
            forwarded,
            open_to_others: (plan.has_http() && !plan.http.ip().is_loopback()).then_some(plan.http),
            edited,
        })
    };
    tokio::select! {
        report = running => report,
        (kind, died) = pair.died() => Err(Failure::died(kind, &died, &directory.log(kind))),
    }
}

/// Writes a configuration file; returns it if it was left as somebody had changed it.
fn write(directory: &Directory, kind: Kind, text: &str) -> Result<Option<PathBuf>, Failure> {
    Ok(match directory.write(kind, text)? {
        Author::Quickstart => None,
        Author::User => Some(directory.config(kind)),
    })
}

/// Calls everything at once; answers in order.
async fn outcomes<T, F>(routes: Vec<T>, call: impl Fn(&T) -> F) -> Vec<(T, Outcome)>
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for (at, route) in routes.iter().enumerate() {
        let call = call(route);
        calls.spawn(async move { (at, call.await) });
    }
    let mut answers = calls.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    let answers = answers.into_iter().map(|(_, outcome)| outcome);
    routes.into_iter().zip(answers).collect()
}

fn call_exposed(exposed: &Exposed) -> impl Future<Output = Outcome> + Send + use<> {
    let way = exposed.way.clone();
    async move {
        match way {
            Way::Http { address, host } => probe::http(address, &host).await,
            Way::Tcp(address) => probe::tcp(address).await,
            Way::Nowhere => Outcome::Failed("no ingress leads to it".to_owned()),
        }
    }
}

fn call_forwarded(forwarded: &Forwarded) -> impl Future<Output = Outcome> + Send + use<> {
    let address = forwarded.listen.parse::<SocketAddr>();
    let target = forwarded.target.as_deref().map(str::parse::<Target>);
    async move {
        let Ok(address) = address else {
            return Outcome::Failed("not tried: it is no TCP listener".to_owned());
        };
        match target {
            Some(Ok(target)) if target.protocol() == AppProtocol::Http1 => {
                probe::http(address, "localhost").await
            }
            Some(_) => probe::tcp(address).await,
            None => Outcome::Failed("the edge does not know it".to_owned()),
        }
    }
}

/// Whatever else is exposed may be down; what is built in must answer.
fn hello_answers(exposed: &[(Exposed, Outcome)]) -> Result<(), Failure> {
    let reached = |(it, _): &&(Exposed, Outcome)| it.target == "hello" && it.way != Way::Nowhere;
    for (hello, outcome) in exposed.iter().filter(reached) {
        let url = hello.way.url().unwrap_or_default();
        match outcome {
            Outcome::Answered { status, .. } if *status == StatusCode::OK => {}
            Outcome::Responded { .. } | Outcome::Silent => {}
            Outcome::Answered { status, .. } => {
                return Err(Failure::new(Step::RoundTrip, format!("{url} -> {status}")));
            }
            Outcome::Refused { status, why } => {
                let reason = format!("{url} -> {status}: {why}");
                return Err(Failure::new(Step::RoundTrip, reason));
            }
            Outcome::Failed(why) => {
                return Err(Failure::new(Step::RoundTrip, format!("{url} -> {why}")));
            }
        }
    }
    Ok(())
}

fn foreign_files(edited: &[PathBuf], tunnel: SocketAddr) -> String {
    let names: Vec<_> = edited
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let names = names.join(" and ");
    format!(
        "{names}: used as you changed it (delete it to have it written anew)\n\
         the edge takes clients at {tunnel}: that is what [edge] address of the client must say"
    )
}

/// How this program is called on a command line.
fn program() -> String {
    let typed = std::env::args().next().filter(|name| name.contains('/'));
    typed.unwrap_or_else(|| "causeway".to_owned())
}
