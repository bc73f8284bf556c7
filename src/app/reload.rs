//! A reload, as far as it may take long: files and resolvers are read beside the
//! control loop, which puts in force what was read.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::kernel;
use super::resolve::{self, Addresses, Found};
use super::world::{Source, World};
use crate::config::Config;

/// A reload that somebody has asked for.
pub(super) struct Reload {
    /// Only say what it would change.
    pub(super) dry_run: bool,
    /// What it has changed, or why it has not.
    pub(super) reply: oneshot::Sender<Result<Vec<String>, String>>,
}

/// What a reload has found in the file.
pub(super) struct Reread {
    pub(super) reload: Reload,
    /// Counts reloads: an older one must not undo a newer one.
    pub(super) number: u64,
    pub(super) result: Result<(Config, Found), String>,
}

/// Reads the file again, and looks up what is not among `addresses`.
pub(super) async fn read(
    world: Arc<World>,
    addresses: Addresses,
    reload: Reload,
    number: u64,
) -> Reread {
    let source = world.loaded.load().source.clone();
    let mut result = load(source).await.map(|config| (config, Found::new()));
    if let Ok((config, found)) = &mut result {
        let unknown = addresses.unknown(config);
        *found = resolve::look_up_all(unknown, &config.taint, &world.sink).await;
        if let Err(why) = kernel::preflight(&world, config).await {
            result = Err(config.taint.clean(&why));
        }
    }
    Reread {
        reload,
        number,
        result,
    }
}

async fn load(source: Source) -> Result<Config, String> {
    // Reading a file may block, on a network file system for long.
    let load =
        tokio::task::spawn_blocking(move || Config::load(&source.file, source.node.as_deref()));
    match load.await {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(error) => Err(format!("reading the configuration: {error}")),
    }
}
