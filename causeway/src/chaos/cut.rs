//! `causeway chaos cut`: the tunnel of a quickstart without a network for a while.

mod story;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::{Method, StatusCode};
use relay::settings::{format_duration, parse_duration};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::pair::{Progress, Stop, sessions};
use crate::status::{AdminAddress, FetchError, ask, fetch, foreign, printable, put};
use story::{HEALING, Look, Passed, Phase, Session, Story};

/// For each question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks.
const BEAT: Duration = Duration::from_millis(500);

/// Cut the tunnel of a `causeway quickstart --chaos` for a while, and show what happens.
///
/// Nothing passes between its client and its edge, in both directions or one. Meanwhile and
/// afterwards it shows the session, its open streams and the bytes that pass, and says at the end
/// what became of them. Have some streams open: the page of a quickstart in a browser is enough.
/// Ctrl-C heals the cut at once.
///
/// Exit status: 0 the tunnel works again; 1 it does not, or there was nothing to cut; 2 wrong arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  causeway quickstart --chaos          in one terminal
  causeway chaos cut 10s               in another: streams wait and go on
  causeway chaos cut 30s               the connection is judged dead: they go on over the next
  causeway chaos cut 10s --way up      nothing from the client reaches the edge")]
pub(crate) struct CutArgs {
    /// How long, such as 10s
    #[arg(value_name = "TIME", value_parser = lasts)]
    lasts: Duration,
    /// The directory of the quickstart
    #[arg(long, value_name = "DIR", default_value = "causeway-demo")]
    dir: PathBuf,
    /// Only this way: up is from the client to the edge, down from the edge to the client
    #[arg(long, value_name = "up|down", value_parser = ["up", "down"])]
    way: Option<String>,
    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

/// Runs `causeway chaos cut`.
pub(super) fn run(args: &CutArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(cut(args))
}

async fn cut(args: &CutArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::new()?;
    let demo = Demo::of(args).await?;
    let before = demo.look().await?;
    if before.sessions.is_empty() {
        bail!(
            "the edge at {} has no session to cut; wait until its client has joined",
            demo.edge
        );
    }
    let progress = Progress::new();
    let mut story = Story::new(before.sessions);
    demo.set(args).await?;
    let begun = Instant::now();
    let healed = begun + args.lasts;
    let cutting = watch(&demo, &mut story, &progress, Phase::Cut(begun, healed));
    let heals = tokio::select! {
        watched = cutting => watched.map(|()| Instant::now()),
        () = stop.told() => {
            demo.heal(args).await?;
            Ok(Instant::now())
        }
    }?;
    let healing = watch(&demo, &mut story, &progress, Phase::Healed(begun, heals));
    tokio::select! {
        watched = healing => watched?,
        () = stop.told() => {}
    }
    let watched = heals.elapsed();
    progress.clear();
    let text = if args.json {
        format!("{}\n", story.json(heals - begun))
    } else {
        story.text(heals - begun, watched)
    };
    put(&text)?;
    Ok(match story.works_again {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}

/// A running `causeway quickstart --chaos`.
struct Demo {
    directory: PathBuf,
    proxy: AdminAddress,
    edge: AdminAddress,
    client: AdminAddress,
}

/// Looks again and again, and says what there is; until the cut is over, or the tunnel works again.
async fn watch(
    demo: &Demo,
    story: &mut Story,
    progress: &Progress,
    phase: Phase,
) -> anyhow::Result<()> {
    let first = demo.look().await?.passed;
    let mut next = Instant::now();
    loop {
        let look = demo.look().await?;
        let now = Instant::now();
        story.see(&look, now, phase);
        let line = look.line(first);
        match phase {
            Phase::Cut(_, until) => {
                let left = until.saturating_duration_since(now).as_secs_f64();
                show(progress, &format!("cut, {left:4.1} s to go: {line}"));
                if now >= until {
                    return Ok(());
                }
                next = (next + BEAT).max(now).min(until);
            }
            Phase::Healed(_, since) => {
                let ago = (now - since).as_secs_f64();
                show(progress, &format!("healed {ago:4.1} s ago: {line}"));
                if story.works_again.is_some() || now >= since + HEALING {
                    return Ok(());
                }
                next = (next + BEAT).max(now);
            }
        }
        sleep_until(next).await;
    }
}

/// One line that is written over on a terminal, otherwise a line each.
fn show(progress: &Progress, line: &str) {
    if io::stderr().is_terminal() {
        progress.step(line);
    } else {
        // Nobody may be left who reads.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

impl Demo {
    /// The one that runs in a directory.
    async fn of(args: &CutArgs) -> anyhow::Result<Self> {
        let socket = args.dir.join(crate::quickstart::CONTROL_SOCKET);
        let proxy = AdminAddress::Unix(socket);
        let status = match get(&proxy, "/status").await {
            Ok(status) => status,
            Err(error) => {
                let unreachable = error
                    .downcast_ref::<FetchError>()
                    .is_some_and(FetchError::is_nobody_there);
                if unreachable {
                    bail!(
                        "no quickstart runs in {} with --chaos: start one with `causeway quickstart --chaos`, or name its directory with --dir",
                        args.dir.display()
                    );
                }
                return Err(error);
            }
        };
        let address = |key: &str| {
            let address = status[key].as_str().unwrap_or_default().parse();
            address
                .with_context(|| format!("{proxy} does not say where to ask: is this one build?"))
        };
        Ok(Self {
            directory: args.dir.clone(),
            edge: address("edge_admin")?,
            client: address("client_admin")?,
            proxy,
        })
    }

    /// Cuts. The proxy heals it by itself when its time is over, whatever becomes of this process.
    async fn set(&self, args: &CutArgs) -> anyhow::Result<()> {
        let path = format!("{}?for={}", path(args), format_duration(args.lasts));
        self.tell(Method::PUT, &path).await
    }

    /// Heals before that.
    async fn heal(&self, args: &CutArgs) -> anyhow::Result<()> {
        self.tell(Method::DELETE, &path(args)).await
    }

    async fn tell(&self, method: Method, path: &str) -> anyhow::Result<()> {
        let answer = ask(&self.proxy, method, path, PATIENCE).await;
        match answer.map_err(|error| self.explain(error.into()))? {
            (StatusCode::OK, _) => Ok(()),
            (code, body) => Err(foreign(&self.proxy, path, code, &body).into()),
        }
    }

    async fn look(&self) -> anyhow::Result<Look> {
        self.see().await.map_err(|error| self.explain(error))
    }

    /// It was there when it was found, so what has gone since then has ended.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast_ref::<FetchError>() {
            Some(FetchError::Unreachable { .. } | FetchError::Broken { .. }) => {
                anyhow!("the quickstart in {} has ended", self.directory.display())
            }
            Some(FetchError::Silent { .. } | FetchError::Foreign { .. }) | None => error,
        }
    }

    async fn see(&self) -> anyhow::Result<Look> {
        let proxy = get(&self.proxy, "/status").await?;
        let edge = fetch(&self.edge).await?;
        let client = fetch(&self.client).await?;
        let number = |key: &str| proxy["totals"][key].as_u64().unwrap_or_default();
        Ok(Look {
            sessions: sessions(&edge.status).map(Session::of).collect(),
            client: (!client.ready).then(|| printable(&client.not_ready.join("; "))),
            passed: Passed {
                up: number("bytes_up"),
                down: number("bytes_down"),
            },
        })
    }
}

fn path(args: &CutArgs) -> String {
    match &args.way {
        Some(way) => format!("/faults/cut/{way}"),
        None => "/faults/cut".to_owned(),
    }
}

async fn get(address: &AdminAddress, path: &str) -> anyhow::Result<Value> {
    match ask(address, Method::GET, path, PATIENCE).await? {
        (StatusCode::OK, body) => Ok(serde_json::from_slice(&body)?),
        (code, body) => Err(foreign(address, path, code, &body).into()),
    }
}

fn lasts(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(3_600);
    let lasts = parse_duration(text).map_err(|error| error.to_string())?;
    if lasts.is_zero() || lasts > MOST {
        return Err("from 1ms to 1h".to_owned());
    }
    Ok(lasts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_cut_may_be() {
        assert_eq!(lasts("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(lasts("0s"), Err("from 1ms to 1h".to_owned()));
        assert!(lasts("2h").is_err() && lasts("30").is_err());
    }
}
