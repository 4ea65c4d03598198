//! Metrics, status and health over HTTP: on a socket in the work folder always, on a TCP address where asked for.
//!
//! Owns: paths and answers. `/metrics` for Prometheus; `/status` as JSON; `/health/live`: the process works;
//! `/health/ready`: the shard commits epochs. Everything is read only.

use super::Observed;
use super::status::Health;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use segno_core::{Code, Error, Result};
use std::future::IntoFuture;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The socket's name in the work folder.
const SOCKET: &str = "status.sock";
/// Longest path of a Unix socket, bytes: the system's limit, with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// How long `segno status` waits for an answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers until it is dropped.
pub struct Server {
    runtime: Option<tokio::runtime::Runtime>,
    /// Where it listens, if it listens on TCP.
    pub address: Option<SocketAddr>,
}

impl Server {
    /// `take_over`: the socket of another process that answers is replaced.
    pub fn start(observed: Arc<Observed>, work_dir: &Path, listen: Option<SocketAddr>, take_over: bool) -> Result<Server> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("status")
            .enable_all()
            .build()
            .map_err(|error| Error::new(Code::Internal, "the status thread cannot start").with_cause(error))?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/status", get(status))
            .route("/health/live", get(|| async { "live\n" }))
            .route("/health/ready", get(ready))
            .with_state(observed);
        open_socket(&runtime, work_dir, &router, take_over);
        let address = match listen {
            None => None,
            Some(listen) => {
                let listener = runtime.block_on(tokio::net::TcpListener::bind(listen)).map_err(|error| {
                    Error::new(Code::ListenFailed, format!("cannot listen on {listen}"))
                        .with_cause(error)
                        .with_help("choose another address with --listen, or port 0 for any free one")
                })?;
                let address = listener.local_addr().ok();
                runtime.spawn(axum::serve(listener, router).into_future());
                address
            }
        };
        Ok(Server { runtime: Some(runtime), address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Without a socket the pipeline runs all the same; `segno status` then says that it is not running. The file stays
/// when the process ends: nobody answers behind it.
fn open_socket(runtime: &tokio::runtime::Runtime, work_dir: &Path, router: &Router, take_over: bool) {
    let path = work_dir.join(SOCKET);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        tracing::warn!("{} is too long for a socket: `segno status` will not find this run", path.display());
        return;
    }
    // Somebody answers: this process is about to be refused, and must not take the other one's place.
    if !take_over && UnixStream::connect(&path).is_ok() {
        return;
    }
    let _ = std::fs::create_dir_all(work_dir);
    let _ = std::fs::remove_file(&path);
    let _guard = runtime.enter();
    match tokio::net::UnixListener::bind(&path) {
        Ok(listener) => drop(runtime.spawn(axum::serve(listener, router.clone()).into_future())),
        Err(error) => tracing::warn!("{} cannot be opened: {error}", path.display()),
    }
}

async fn metrics(State(observed): State<Arc<Observed>>) -> impl IntoResponse {
    match observed.metrics.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

async fn status(State(observed): State<Arc<Observed>>) -> impl IntoResponse {
    axum::Json(observed.status())
}

async fn ready(State(observed): State<Arc<Observed>>) -> impl IntoResponse {
    let status = observed.status();
    let code = if status.health == Health::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let why = status.problem.map_or(String::new(), |why| format!(": {why}"));
    (code, format!("{}{why}\n", status.health.name()))
}

/// Asks the process that runs in a work folder; `None` when none does.
pub fn ask(work_dir: &Path, path: &str) -> Result<Option<String>> {
    let failed = |error: std::io::Error| {
        Error::new(Code::NotRunning, format!("the process in {} does not answer", work_dir.display())).with_cause(error)
    };
    let Ok(mut stream) = UnixStream::connect(work_dir.join(SOCKET)) else { return Ok(None) };
    stream.set_read_timeout(Some(ASK_TIMEOUT)).map_err(failed)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: segno\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()))
}
