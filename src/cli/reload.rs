//! `tandem reload`

use hyper::Method;

use super::{ConfigFile, Exit, ReloadArgs, client, complain, out};

pub(super) fn reload(args: &ReloadArgs, file: &ConfigFile) -> Exit {
    let socket = match client::socket(&args.admin, file) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let path = if args.dry_run {
        "/v1/reload?dry_run=1"
    } else {
        "/v1/reload"
    };
    let body = match client::ask(&socket, Method::POST, path) {
        Ok(body) => body,
        Err(error) => {
            complain(&error.to_string());
            return error.exit();
        }
    };
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let changes = answer["changes"].as_array();
    let mut text = String::new();
    for change in changes.into_iter().flatten() {
        text.push_str(change.as_str().unwrap_or_default());
        text.push('\n');
    }
    text.push_str(match (changes.is_none_or(Vec::is_empty), args.dry_run) {
        (true, _) => "nothing has changed\n",
        (false, true) => "(dry run: nothing was done)\n",
        (false, false) => "reloaded\n",
    });
    out(&text);
    Exit::Ok
}
