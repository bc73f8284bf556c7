//! The `nft` program: one transaction on its standard input.

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// A transaction takes some milliseconds; a firewall of a hundred thousand
/// rules makes it wait for its turn.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Enough of a complaint to act on.
const MOST_SAID: usize = 300;

/// Why the rules are not in force.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program cannot be started.
    #[error("cannot run nft: {0} (the kernel plane needs the package nftables)")]
    Missing(#[source] io::Error),
    /// It has refused them.
    #[error("nft has refused the rules: {0}")]
    Refused(String),
    /// It takes too long.
    #[error("nft has not answered within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// Puts `text` in force: all of it or nothing.
pub async fn run(text: &str) -> Result<(), NftError> {
    call(&["-f", "-"], text).await
}

/// Only says whether `text` could be put in force.
pub async fn dry_run(text: &str) -> Result<(), NftError> {
    call(&["-c", "-f", "-"], text).await
}

async fn call(arguments: &[&str], text: &str) -> Result<(), NftError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .env("PATH", path())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Missing)?;
    let mut stdin = child.stdin.take();
    let talk = async {
        if let Some(stdin) = &mut stdin {
            // A program that has ended already says why below.
            let _why_comes = stdin.write_all(text.as_bytes()).await;
        }
        drop(stdin);
        child.wait_with_output().await
    };
    match timeout(TIMEOUT, talk).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(NftError::Refused(complaint(&output))),
        Ok(Err(error)) => Err(NftError::Missing(error)),
        Err(_) => Err(NftError::TimedOut),
    }
}

/// Where programs are, and where administrators' programs are: a service or a
/// plain shell may not have the latter.
fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// What it said, in one line.
fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = said.split_whitespace().collect();
    if words.is_empty() {
        return output.status.to_string();
    }
    words.join(" ").chars().take(MOST_SAID).collect()
}
