//! SIGHUP asks for another reading of the configuration, whether or not it changed.
//!
//! In a file of its own: the signal reaches every watch of the process.

#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

use std::process::Command;
use std::time::Duration;

use relay::settings::{Document, Reread, watch};

#[tokio::test]
async fn a_hangup_asks_for_another_reading() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    std::fs::write(&file, "workers = 1").unwrap();
    let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
    for _ in 0..2 {
        let pid = std::process::id().to_string();
        assert!(
            Command::new("kill")
                .args(["-HUP", &pid])
                .status()
                .unwrap()
                .success()
        );
        let reread = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        assert_eq!(reread, Ok(Reread::Signal));
    }
}
