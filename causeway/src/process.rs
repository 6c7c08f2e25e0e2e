//! What `edge` and `client` have in common as processes: signals, exit status.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use relay::settings::{ListenAddr, Problems};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::check::EXIT_CONFIGURATION;
use crate::logging;

/// The exit status of a process that was told to stop twice.
const EXIT_FAILURE: i32 = 1;

/// How long such a process may take to say so.
const LAST_WORD: Duration = Duration::from_secs(1);

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
    let logging = match logging::start() {
        Ok(logging) => logging,
        Err(problem) => {
            eprintln!("error: {problem}");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    let stop = CancellationToken::new();
    obey_signals(supervision, stop.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    Ok(match runtime.block_on(process(stop)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_configuration(&error) => {
            logging.last_words(&error.to_string());
            ExitCode::from(EXIT_CONFIGURATION)
        }
        Err(error) => {
            logging.last_words(&format!("{:#}", anyhow::Error::from(error)));
            ExitCode::FAILURE
        }
    })
}

/// Prints what is wrong with a configuration.
pub(crate) fn refuse(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Cancels `stop` when the process is told to stop, and ends it when it is told again. On a thread
/// of its own: whatever keeps the others, be it a file that blocks, does not keep this one.
fn obey_signals(supervision: Supervision, stop: CancellationToken) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start to listen for signals")?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    drop(entered);
    let parent = supervision.supervised.then(parent_gone);
    let obeying = async move {
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
        stop.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        end_now()
    };
    let thread = thread::Builder::new().name("signals".into());
    thread
        .spawn(move || runtime.block_on(obeying))
        .context("cannot start to listen for signals")?;
    Ok(())
}

/// Ends the process, whatever its threads do.
fn end_now() -> ! {
    let (said, heard) = sync_channel(1);
    // If nobody reads the log, saying it would wait for good.
    let _thread = thread::Builder::new().spawn(move || {
        tracing::warn!("told to stop again: not waiting for streams any longer");
        let _ = said.send(());
    });
    let _ = heard.recv_timeout(LAST_WORD);
    std::process::exit(EXIT_FAILURE)
}

/// Cancelled when stdin is closed: whoever held its other end is gone. A thread of its own, since
/// a read that never returns would keep the runtime from ending.
fn parent_gone() -> CancellationToken {
    let gone = CancellationToken::new();
    let tell = gone.clone();
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tell.cancel();
    });
    gone
}
