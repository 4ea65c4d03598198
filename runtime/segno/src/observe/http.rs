//! Metrics, status and health over HTTP: on a socket in the work folder always, on a TCP address where asked for.
//!
//! Owns: paths and answers. `/metrics` for Prometheus; `/status` as JSON; `/health/live`: the process works;
//! `/health/ready`: every shard commits epochs; `/tap/PIPELINE/SHARD/STEP/N`: some records on their way. Everything is read only.
//!
//! Invariant: records leave over the socket only, whose folder belongs to who runs the pipeline; never over TCP.
//!
//! Processes that share the shards of a pipeline may share a work folder, so each has a socket of its own there.

use super::status::{Health, Status};
use super::Shards;
use crate::shard::tap::Passed;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use segno_core::{Code, Error, Result};
use std::future::IntoFuture;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

/// The socket's name in the work folder, where one process runs all of the pipeline.
const SOCKET: &str = "status.sock";
/// How the sockets of several processes begin; what follows is the process's id.
const SOCKET_OF_ONE: &str = "status-";
/// Longest path of a Unix socket, bytes: the system's limit, with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// In the path of a tap: whichever shard has records first.
const EVERY_SHARD: &str = "all";
/// How long a tap waits for records; less than who asks waits for an answer.
const TAP_WAIT: Duration = Duration::from_secs(2);
/// How long `segno status` waits for an answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers until it is dropped.
pub struct Server {
    runtime: Option<tokio::runtime::Runtime>,
    /// Where it listens, if it listens on TCP.
    pub address: Option<SocketAddr>,
}

impl Server {
    /// `take_over`: the socket of another process that answers is replaced. `shared`: other processes may run other shards
    /// of the pipeline.
    pub fn start(
        shards: Arc<Shards>,
        work_dir: &FilePath,
        listen: Option<SocketAddr>,
        take_over: bool,
        shared: bool,
    ) -> Result<Server> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("status")
            .enable_all()
            .build()
            .map_err(|error| Error::new(Code::Internal, "the status thread cannot start").with_cause(error))?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/status", if shared { get(statuses) } else { get(status) })
            .route("/health/live", get(|| async { "live\n" }))
            .route("/health/ready", get(ready))
            .with_state(Arc::clone(&shards));
        // Records are for who may read the work folder.
        let with_records = router.clone().merge(Router::new().route("/tap/{pipeline}/{shard}/{step}/{records}", get(records)).with_state(shards));
        let socket = if shared { format!("{SOCKET_OF_ONE}{}.sock", std::process::id()) } else { SOCKET.to_owned() };
        open_socket(&runtime, &work_dir.join(socket), &with_records, take_over);
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
fn open_socket(runtime: &tokio::runtime::Runtime, path: &FilePath, router: &Router, take_over: bool) {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        tracing::warn!("{} is too long for a socket: `segno status` will not find this run", path.display());
        return;
    }
    // Somebody answers: this process is about to be refused, and must not take the other one's place.
    if !take_over && UnixStream::connect(path).is_ok() {
        return;
    }
    let _ = path.parent().map(std::fs::create_dir_all);
    let _ = std::fs::remove_file(path);
    let _guard = runtime.enter();
    match tokio::net::UnixListener::bind(path) {
        Ok(listener) => drop(runtime.spawn(axum::serve(listener, router.clone()).into_future())),
        Err(error) => tracing::warn!("{} cannot be opened: {error}", path.display()),
    }
}

async fn metrics(State(shards): State<Arc<Shards>>) -> impl IntoResponse {
    match shards.metrics() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

async fn status(State(shards): State<Arc<Shards>>) -> impl IntoResponse {
    axum::Json(shards.statuses().into_iter().next())
}

async fn statuses(State(shards): State<Arc<Shards>>) -> impl IntoResponse {
    axum::Json(shards.statuses())
}

async fn ready(State(shards): State<Arc<Shards>>) -> impl IntoResponse {
    let (health, problem) = shards.health();
    let code = if health == Health::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let why = problem.map_or(String::new(), |why| format!(": {why}"));
    (code, format!("{}{why}\n", health.name()))
}

/// Some records of the next epoch in which any pass the step; none after a while without.
async fn records(
    State(shards): State<Arc<Shards>>,
    Path((pipeline, shard, step, records)): Path<(String, String, String, usize)>,
) -> impl IntoResponse {
    let (answer, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let runs = shards.tap(&pipeline, (shard != EVERY_SHARD).then_some(&*shard), &step, records, &answer);
    drop(answer);
    if !runs {
        return axum::Json(None);
    }
    axum::Json(Some(tokio::time::timeout(TAP_WAIT, answers.recv()).await.ok().flatten().unwrap_or_default()))
}

/// The processes that answer in a work folder.
fn answering(work_dir: &FilePath) -> Vec<UnixStream> {
    let is_socket = |name: &str| name == SOCKET || name.starts_with(SOCKET_OF_ONE);
    let entries = std::fs::read_dir(work_dir).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| is_socket(&name.to_string_lossy()))
    });
    // A process that ended left its socket behind.
    sockets.filter_map(|socket| UnixStream::connect(socket).ok()).collect()
}

fn no_answer(work_dir: &FilePath, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::NotRunning, format!("the process in {} does not answer", work_dir.display())).with_cause(cause.to_string())
}

/// The shards that processes run in a work folder, in the order of their numbers; `None` when no process answers.
pub fn ask(work_dir: &FilePath) -> Result<Option<Vec<Status>>> {
    let mut found: Option<Vec<Status>> = None;
    for stream in answering(work_dir) {
        let Some(text) = get_over(stream, "/status").map_err(|error| no_answer(work_dir, error))? else { continue };
        let statuses: Vec<Status> = serde_json::from_str(&text)
            .or_else(|_| serde_json::from_str(&text).map(|status: Status| vec![status]))
            .map_err(|error| no_answer(work_dir, error))?;
        found.get_or_insert_default().extend(statuses);
    }
    if let Some(found) = &mut found {
        found.sort_by_key(|status| (status.pipeline.clone(), status.shard.parse::<u32>().unwrap_or(0)));
    }
    Ok(found)
}

/// Some records on their way past a step of a pipeline or of its stage, from each process that runs a shard of it; waits a
/// moment for them. `None` when no process does.
pub fn tap(work_dir: &FilePath, pipeline: &str, shard: Option<u32>, step: &str, records: usize) -> Result<Option<Vec<Passed>>> {
    let shard = shard.map_or(EVERY_SHARD.to_owned(), |shard| shard.to_string());
    let mut found: Option<Vec<Passed>> = None;
    for stream in answering(work_dir) {
        let path = format!("/tap/{pipeline}/{shard}/{step}/{records}");
        let Some(text) = get_over(stream, &path).map_err(|error| no_answer(work_dir, error))? else { continue };
        let passed: Option<Vec<Passed>> = serde_json::from_str(&text).map_err(|error| no_answer(work_dir, error))?;
        if let Some(passed) = passed {
            found.get_or_insert_default().extend(passed);
        }
    }
    Ok(found)
}

/// The body of an answer; `None` when the process ended before it had given all of it: then it answers as little as one that ended
/// before it was asked.
fn get_over(mut stream: UnixStream, path: &str) -> std::io::Result<Option<String>> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    stream.set_read_timeout(Some(ASK_TIMEOUT))?;
    let mut answer = String::new();
    let asked = write!(stream, "GET {path} HTTP/1.1\r\nHost: segno\r\nConnection: close\r\n\r\n");
    match asked.and_then(|()| stream.read_to_string(&mut answer)) {
        Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => return Ok(None),
        done => done?,
    };
    let whole = answer.split_once("\r\n\r\n").filter(|(head, body)| length_of(head) == Some(body.len()));
    Ok(whole.map(|(_, body)| body.to_owned()))
}

fn length_of(head: &str) -> Option<usize> {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).find_map(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a question gets from a process that gives a part of an answer, and ends.
    fn asked(given: &'static str) -> Option<Vec<Passed>> {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let process = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 1024];
            let _ = stream.read(&mut question).unwrap();
            stream.write_all(given.as_bytes()).unwrap();
        });
        let found = tap(folder.path(), "p", None, "s", 1).unwrap();
        process.join().unwrap();
        found
    }

    #[test]
    fn a_process_that_ends_while_it_is_asked_is_one_that_does_not_run() {
        assert!(asked("").is_none());
        assert!(asked("HTTP/1.1 200 OK\r\nContent-").is_none());
        assert!(asked("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[").is_none());
        assert_eq!(asked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").unwrap().len(), 0);
    }
}
