//! What S3 says when it refuses: the status and its error code, kept as a value.
//!
//! Owns: reading refusals off the wire, before the client library turns them into text. Does not own: what to do about
//! them (`retry`).
//!
//! Invariant: an absent object is one that the store calls absent. 404 says a store for other reasons, too: a bucket that
//! is not there, a key that nobody has.

use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};
use object_store::client::ReqwestConnector;
use object_store::ClientOptions;
use segno_core::{Code, Error};
use std::fmt;

/// Longest body of a refusal that is read, bytes; S3's have a few hundred.
const BODY_MAX: usize = 16 << 10;

/// An answer that is an error and not one of those that the client library knows better.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: u16,
    /// Who refused: the store, or an endpoint that hands out credentials.
    pub host: String,
    /// S3's word for it, such as `SlowDown`; empty when it gave none.
    pub code: String,
    pub message: String,
}

impl Refusal {
    /// Whether the object is there and lacks the bytes that were asked for.
    pub fn is_range(&self) -> bool {
        self.status == 416
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {} from {}", self.status, self.host)?;
        for said in [&self.code, &self.message].into_iter().filter(|said| !said.is_empty()) {
            write!(f, ": {said}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Makes clients that turn refusals into `Refusal`.
#[derive(Debug, Default)]
pub(super) struct Refusing(ReqwestConnector);

impl HttpConnector for Refusing {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().authority().map_or(String::new(), ToString::to_string);
        let response = self.0.execute(request).await?;
        let status = response.status();
        // These have a meaning of their own for the client library, as 404 has.
        if status.is_success() || matches!(status.as_u16(), 304 | 409 | 412) {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        let text = String::from_utf8_lossy(&body[..body.len().min(BODY_MAX)]);
        let (code, message) = (element(&text, "Code").to_owned(), element(&text, "Message").to_owned());
        // Without a word it is the answer to a HEAD, or of a simple server.
        if status.as_u16() == 404 && matches!(code.as_str(), "NoSuchKey" | "NoSuchVersion" | "NotFound" | "") {
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        Err(HttpError::new(HttpErrorKind::Unknown, Refusal { status: status.as_u16(), host, code, message }))
    }
}

/// Text of the first element of this name; S3's errors are flat.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let found = || {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(text, _)| text.trim())
    };
    found().unwrap_or_default()
}

/// The refusal underneath an error, when there is one.
pub(super) fn find(error: &object_store::Error) -> Option<&Refusal> {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(refusal) = cause.downcast_ref() {
            return Some(refusal);
        }
        cause = cause.source()?;
    }
}

pub(super) fn no_bucket(url: &str) -> Error {
    Error::new(Code::NoBucket, format!("the bucket of {url} does not exist"))
        .with_help("create it with versioning on, or correct checkpoint.store and AWS_ENDPOINT_URL")
}
