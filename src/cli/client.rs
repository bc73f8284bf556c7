//! Talking to a running tandem over its admin socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{AdminSocket, ConfigFile, Exit, complain};
use crate::admin::AdminSettings;
use crate::config::{Config, LoadError};

/// How long a running tandem may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("{0}: no answer within {secs} s", secs = TIMEOUT.as_secs())]
    TimedOut(PathBuf),
    /// Nobody is there.
    #[error("{path}: {why} (is tandem running? --socket names another one)")]
    Unreachable { path: PathBuf, why: String },
}

impl ClientError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::Unreachable { .. } => Exit::Unreachable,
        }
    }
}

/// The socket of the tandem that `admin`, or else the configuration in `file`,
/// means. A file that is wrong elsewhere still names its socket; where even that
/// cannot be read, another tandem must not be asked instead.
pub(super) fn socket(admin: &AdminSocket, file: &ConfigFile) -> Result<PathBuf, Exit> {
    if let Some(path) = &admin.socket {
        return Ok(path.clone());
    }
    let settings = match file.load() {
        Ok(config) => config.admin,
        Err(LoadError::Read { .. }) => AdminSettings::default(),
        Err(error @ LoadError::Problems(_)) => {
            let Some(settings) = Config::admin_of(&file.path()) else {
                complain(&error.with_lines());
                return Err(Exit::Usage);
            };
            settings
        }
    };
    let found = settings.socket.as_ref().map(|it| it.path().to_owned());
    Ok(found.unwrap_or_else(|| PathBuf::from(AdminSettings::SOCKET)))
}

/// Asks for `path` and returns the body of the answer.
pub(super) fn ask(socket: &Path, method: Method, path: &str) -> Result<Vec<u8>, ClientError> {
    let unreachable = |why: String| ClientError::Unreachable {
        path: socket.to_owned(),
        why,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unreachable(error.to_string()))?;
    runtime.block_on(async {
        match timeout(TIMEOUT, exchange(socket, method, path)).await {
            Ok(Ok((true, body))) => Ok(body),
            Ok(Ok((false, body))) => Err(ClientError::Refused(detail(&body))),
            Ok(Err(why)) => Err(unreachable(why)),
            Err(_elapsed) => Err(ClientError::TimedOut(socket.to_owned())),
        }
    })
}

async fn exchange(socket: &Path, method: Method, path: &str) -> Result<(bool, Vec<u8>), String> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "tandem")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let is_ok = answer.status().is_success();
    let body = answer.into_body().collect().await;
    let body = body.map_err(|error| error.to_string())?;
    Ok((is_ok, body.to_bytes().to_vec()))
}

/// What a problem document says to people.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    problem
        .and_then(|it| it["detail"].as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}
