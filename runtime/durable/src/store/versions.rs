//! Whether a bucket keeps old versions of its objects.
//!
//! Owns: asking. The client library has no call for it: this is one signed request of our own. Does not own: the advice
//! (`segno doctor`).

use super::connect::Client;
use super::refusal::Refusing;
use super::retry::judge;
use super::Objects;
use object_store::client::{HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use object_store::path::Path as ObjectPath;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::ClientOptions;
use segno_core::Result;
use std::time::Duration;

/// How long the request stays valid; it is sent at once.
const SIGNED_FOR: Duration = Duration::from_secs(60);
/// Time of the request with its answer.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// What a bucket does with objects that are overwritten or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// They can be brought back.
    On,
    Off,
    /// A folder: the question makes no sense.
    NotABucket,
}

impl Objects {
    pub fn versioning(&self) -> Result<Versioning> {
        let client = self.client();
        if client.s3.is_none() {
            return Ok(Versioning::NotABucket);
        }
        let body = self
            .runtime
            .block_on(ask(&client))
            .map_err(|error| judge(&error).error("asking for", "the bucket's versioning", &self.url, &error))?;
        Ok(if body.contains("<Status>Enabled</Status>") { Versioning::On } else { Versioning::Off })
    }
}

async fn ask(client: &Client) -> object_store::Result<String> {
    let other = |error: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "S3", source: error };
    let Some(s3) = &client.s3 else { return Ok(String::new()) };
    let options = SignedUrlOptions::default().with_query([("versioning", "")]);
    let url = s3.signed_url_opts(http::Method::GET, &ObjectPath::default(), SIGNED_FOR, &options).await?;
    let http = Refusing::default().connect(&ClientOptions::new().with_allow_http(true).with_timeout(REQUEST_TIME_MAX))?;
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.as_str().parse().map_err(|error: http::uri::InvalidUri| other(error.into()))?;
    let response = http.execute(request).await.map_err(|error| other(error.into()))?;
    if !response.status().is_success() {
        let failed = HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(format!("HTTP {}", response.status())));
        return Err(other(failed.into()));
    }
    let body = response.into_body().bytes().await.map_err(|error| other(error.into()))?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
