//! What outlives the process: one small file, replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::event::{Event, Sink};
use crate::pair::{Hold, Memory};
use crate::types::{Name, Term};

/// How long to wait before a file that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The file's text, as JSON.
#[derive(Deserialize, Serialize)]
struct Text {
    term: u64,
    hold: HoldText,
}

#[derive(Deserialize, Serialize)]
struct HoldText {
    version: u64,
    on: bool,
}

/// Where the memory of this node is kept.
pub(super) struct Keeper {
    path: PathBuf,
    sink: Sink,
}

impl Keeper {
    /// The memory of `node`, in the folder `dir`: several nodes may share it.
    pub(super) fn new(dir: &Path, node: &Name, sink: Sink) -> Self {
        Self {
            path: dir.join(format!("pair-{node}.json")),
            sink,
        }
    }

    /// What an earlier life has left; nothing if there was none, or if that
    /// cannot be read, which is said.
    pub(super) fn recall(&self) -> Memory {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Memory::default(),
            Err(error) => {
                self.complain("read", &error);
                return Memory::default();
            }
        };
        match serde_json::from_slice::<Text>(&text) {
            Ok(text) => Memory {
                term: Term(text.term),
                hold: Hold {
                    version: text.hold.version,
                    is_on: text.hold.on,
                },
            },
            Err(error) => {
                self.complain("understand", &error);
                Memory::default()
            }
        }
    }

    /// Writes down what changes, until nobody changes it any more. A full disk
    /// costs the memory, never the balancer.
    pub(super) async fn keep(self, mut changes: watch::Receiver<Memory>) {
        let mut is_well = true;
        while changes.changed().await.is_ok() {
            loop {
                let memory = *changes.borrow_and_update();
                let path = self.path.clone();
                let write = tokio::task::spawn_blocking(move || write(&path, memory));
                let Ok(Err(error)) = write.await else {
                    is_well = true;
                    break;
                };
                if is_well {
                    self.complain("write", &error);
                }
                is_well = false;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn complain(&self, what: &str, error: &dyn std::fmt::Display) {
        let path = self.path.display();
        let what = format!(
            "process.state_dir: cannot {what} {path}: {error}; terms and an order to hold are \
             forgotten if all nodes stop"
        );
        self.sink.say(Event::Trouble { what });
    }
}

/// The new text stands beside the old one until it is whole and on the disk.
fn write(path: &Path, memory: Memory) -> io::Result<()> {
    let text = Text {
        term: memory.term.0,
        hold: HoldText {
            version: memory.hold.version,
            on: memory.hold.is_on,
        },
    };
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(dir)?;
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    serde_json::to_writer(&mut file, &text)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(term: u64) -> Memory {
        Memory {
            term: Term(term),
            hold: Hold {
                version: 3,
                is_on: true,
            },
        }
    }

    fn keeper(dir: &Path) -> Keeper {
        Keeper::new(dir, &Name::new("lb1").unwrap(), Sink::nowhere())
    }

    #[test]
    fn what_was_kept_is_recalled() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(&dir.path().join("made"));
        assert_eq!(keeper.recall(), Memory::default(), "a first life");
        write(&keeper.path, memory(7)).unwrap();
        write(&keeper.path, memory(8)).unwrap();
        assert_eq!(keeper.recall(), memory(8));
    }

    #[test]
    fn nonsense_is_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        for text in ["", "{", "{\"term\":-1}", "\0\0\0"] {
            fs::write(&keeper.path, text).unwrap();
            assert_eq!(keeper.recall(), Memory::default(), "{text:?}");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        write(&keeper.path, memory(7)).unwrap();
        // In the way of the new text, as a full disk would be.
        fs::create_dir(keeper.path.with_extension("new")).unwrap();
        assert!(write(&keeper.path, memory(8)).is_err());
        assert_eq!(keeper.recall(), memory(7));
    }

    #[tokio::test]
    async fn changes_are_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, receiver) = watch::channel(Memory::default());
        let kept = tokio::spawn(keeper(dir.path()).keep(receiver));
        sender.send(memory(9)).unwrap();
        drop(sender);
        kept.await.unwrap();
        assert_eq!(keeper(dir.path()).recall(), memory(9));
    }
}
