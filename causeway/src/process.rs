//! What `edge` and `client` have in common as processes: signals, exit status.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use relay::settings::{ListenAddr, Problems};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::check::EXIT_CONFIGURATION;
use crate::logging;

/// How a parent process that started this one talks to it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Supervision {
    /// Say on stdout where the admin listener is, and stop when stdin is closed.
    #[arg(long, hide = true)]
    supervised: bool,
}

impl Supervision {
    /// Tells the parent that everything is bound.
    pub(crate) fn announce(self, admin: Option<&ListenAddr>) {
        if self.supervised {
            let line = serde_json::json!({ "admin": admin.map(ToString::to_string) });
            // A parent that does not read is gone, which shows on stdin.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

/// Runs a process until it is done or told to stop. SIGINT and SIGTERM ask it to stop; the second
/// one does not wait any longer.
pub(crate) fn run<F, E>(
    supervision: Supervision,
    process: impl FnOnce(CancellationToken) -> F,
    is_configuration: impl Fn(&E) -> bool,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let _logging = match logging::start() {
        Ok(logging) => logging,
        Err(problem) => {
            eprintln!("error: {problem}");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let running = process(stop.clone());
        let told = told_to_stop(supervision)?;
        tokio::pin!(running);
        let done = tokio::select! {
            done = &mut running => done,
            () = told => {
                stop.cancel();
                let again = told_to_stop(Supervision { supervised: false })?;
                tokio::select! {
                    done = &mut running => done,
                    () = again => {
                        eprintln!("told to stop again: not waiting for streams any longer");
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
        };
        match done {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if is_configuration(&error) => {
                eprintln!("error: {error}");
                Ok(ExitCode::from(EXIT_CONFIGURATION))
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// Prints what is wrong with a configuration.
pub(crate) fn refuse(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(EXIT_CONFIGURATION)
}

fn told_to_stop(supervision: Supervision) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let parent = supervision.supervised.then(parent_gone);
    Ok(async move {
        let parent_gone = async {
            match &parent {
                Some(gone) => gone.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = parent_gone => {}
        }
    })
}

/// Cancelled when stdin is closed: whoever held its other end is gone. A thread of its own, since
/// a read that never returns would keep the runtime from ending.
fn parent_gone() -> CancellationToken {
    let gone = CancellationToken::new();
    let tell = gone.clone();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tell.cancel();
    });
    gone
}
