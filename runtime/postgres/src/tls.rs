//! A connection that is as secure as its URL says.
//!
//! Owns: what OpenSSL checks, reading certificates. Does not own: what the URL may say (`segno_core::pipeline`).
//!
//! Invariants: a URL that wants TLS never gives a connection without it. Where authorities are named, no others are
//! trusted, those of the system included.

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::MakeTlsConnector;
use segno_core::pipeline::{ServerCheck, Tls};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

pub enum Connector {
    Plain,
    Secure(MakeTlsConnector),
}

/// Why a connection could not even be tried.
pub struct Refused {
    pub what: String,
    pub cause: String,
}

/// Moves the bytes of a connection until its end.
type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

pub fn mode(tls: Option<&Tls>) -> SslMode {
    if tls.is_some() { SslMode::Require } else { SslMode::Disable }
}

impl Connector {
    pub fn new(tls: Option<&Tls>) -> Result<Connector, Refused> {
        let Some(tls) = tls else { return Ok(Connector::Plain) };
        let own = |error: ErrorStack| Refused { what: "TLS cannot be set up".to_owned(), cause: error.to_string() };
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(own)?;
        if let Some(file) = &tls.authorities {
            let mut store = X509StoreBuilder::new().map_err(own)?;
            for certificate in certificates(file)? {
                store.add_cert(certificate).map_err(|error| unusable("sslrootcert", file, error))?;
            }
            builder.set_cert_store(store.build());
        }
        if let Some(identity) = &tls.identity {
            let (certificate, key) = (&identity.certificate, &identity.key);
            builder.set_certificate_chain_file(certificate).map_err(|error| unusable("sslcert", certificate, error))?;
            builder.set_private_key_file(key, SslFiletype::PEM).map_err(|error| unusable("sslkey", key, error))?;
            builder.check_private_key().map_err(|error| unusable("sslkey", key, error))?;
        }
        if tls.check == ServerCheck::Nothing {
            builder.set_verify(SslVerifyMode::NONE);
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        if tls.check != ServerCheck::AuthorityAndName {
            connector.set_callback(|connection, _| {
                connection.set_verify_hostname(false);
                Ok(())
            });
        }
        Ok(Connector::Secure(connector))
    }

    pub fn is_secure(&self) -> bool {
        matches!(self, Connector::Secure(_))
    }

    pub async fn connect(&self, config: &Config) -> Result<(Client, Connection), tokio_postgres::Error> {
        Ok(match self {
            Connector::Plain => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, Box::pin(async { drop(connection.await) }))
            }
            Connector::Secure(connector) => {
                let (client, connection) = config.connect(connector.clone()).await?;
                (client, Box::pin(async { drop(connection.await) }))
            }
        })
    }
}

fn unusable(parameter: &str, file: &Path, cause: impl std::fmt::Display) -> Refused {
    Refused { what: format!("{parameter} {} cannot be used", file.display()), cause: cause.to_string() }
}

fn certificates(file: &Path) -> Result<Vec<X509>, Refused> {
    let pem = std::fs::read(file).map_err(|error| unusable("sslrootcert", file, error))?;
    let found = X509::stack_from_pem(&pem).map_err(|error| unusable("sslrootcert", file, error))?;
    match found.is_empty() {
        true => Err(unusable("sslrootcert", file, "it holds no certificate")),
        false => Ok(found),
    }
}
