//! The URL of a database: where it is, who asks, and how the connection is secured.
//!
//! Owns: what the URL says about TLS, in the words of PostgreSQL's own programs. Does not own: everything else in it, which
//! the client reads; connecting (`segno-postgres`).
//!
//! Invariant: a connection is never less secure than the URL says. There is no mode that goes on in plaintext when
//! somebody on the way says that the server has no TLS.

use percent_encoding::percent_decode_str;
use std::path::{Path, PathBuf};

/// What a URL begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// `postgres://user:password@host:port/database`. Holds a secret, so it is not shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DatabaseUrl {
    text: String,
    client: String,
    tls: Option<Tls>,
}

/// An encrypted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub check: ServerCheck,
    /// Authorities, in PEM; `None`: those that the system trusts.
    pub authorities: Option<PathBuf>,
    /// How this side shows who it is.
    pub identity: Option<ClientIdentity>,
}

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCheck {
    /// Nothing: only who merely listens is kept out.
    Nothing,
    /// An authority that is trusted signed it.
    Authority,
    /// That, and it names the host.
    AuthorityAndName,
}

/// A certificate (with those between it and its authority) and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why a URL cannot be used, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRefused {
    pub what: String,
    pub mend: &'static str,
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseUrl").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl DatabaseUrl {
    /// Reads a URL; paths in it are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<DatabaseUrl, UrlRefused> {
        let refused = |what: String, mend| Err(UrlRefused { what, mend });
        if !SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return refused(
                "url does not begin with postgres://".to_owned(),
                "write url: \"postgres://user:${PASSWORD}@host:5432/database\"",
            );
        }
        // A password may hold a question mark.
        let after_password = text.find('@').unwrap_or(0);
        let Some(question) = text[after_password..].find('?').map(|at| after_password + at) else {
            return Ok(DatabaseUrl { text: text.to_owned(), client: text.to_owned(), tls: None });
        };
        let mut mode = None;
        let (mut root, mut certificate, mut key) = (None, None, None);
        let mut others = Vec::new();
        for parameter in text[question + 1..].split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => root = Some(value),
                "sslcert" => certificate = Some(folder.join(value)),
                "sslkey" => key = Some(folder.join(value)),
                _ => others.push(parameter),
            }
        }
        let check = match mode.as_deref() {
            None | Some("disable") => None,
            Some("require") => Some(ServerCheck::Nothing),
            Some("verify-ca") => Some(ServerCheck::Authority),
            Some("verify-full") => Some(ServerCheck::AuthorityAndName),
            Some(mode @ ("allow" | "prefer")) => {
                return refused(
                    format!(
                        "sslmode {mode} goes on in plaintext when somebody on the way says that the server has no TLS"
                    ),
                    "write sslmode=verify-full (or verify-ca, require), or sslmode=disable where the network is trusted",
                );
            }
            Some(other) => {
                return refused(
                    format!("sslmode cannot be \"{}\"", other.escape_debug()),
                    "valid are disable, require, verify-ca, verify-full",
                );
            }
        };
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientIdentity { certificate, key }),
            _ => {
                return refused(
                    "of sslcert and sslkey only one is given".to_owned(),
                    "a client certificate is a file in sslcert and its key in sslkey",
                );
            }
        };
        match (check, &root) {
            (None, _) if root.is_some() || identity.is_some() => {
                return refused(
                    "url names certificates, and its sslmode does not use them".to_owned(),
                    "add sslmode=verify-full, or remove sslrootcert, sslcert and sslkey",
                );
            }
            (Some(ServerCheck::Nothing), Some(_)) => {
                return refused(
                    "sslmode require does not look at who the server is, so sslrootcert has no use".to_owned(),
                    "write sslmode=verify-full, or verify-ca where the certificate names another host",
                );
            }
            _ => {}
        }
        // As PostgreSQL's programs have it: `system` are the authorities that the system trusts.
        let authorities = root.filter(|root| root != "system").map(|root| folder.join(root));
        let tls = check.map(|check| Tls { check, authorities, identity });
        let rest = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        Ok(DatabaseUrl { text: text.to_owned(), client: format!("{}{rest}", &text[..question]), tls })
    }

    /// As the pipeline file has it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Without what concerns TLS.
    pub fn for_client(&self) -> &str {
        &self.client
    }

    /// `None`: plaintext.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<DatabaseUrl, UrlRefused> {
        DatabaseUrl::parse(&format!("postgres://u:p?w@h/d{query}"), Path::new("/job"))
    }

    #[test]
    fn what_concerns_tls_is_taken_out_of_the_url_and_the_rest_is_left() {
        let url = parse("?connect_timeout=3&sslmode=verify-full&sslrootcert=ca%20x.pem&sslcert=/c&sslkey=k&options=a")
            .unwrap();
        assert_eq!(url.for_client(), "postgres://u:p?w@h/d?connect_timeout=3&options=a");
        let identity = ClientIdentity { certificate: "/c".into(), key: "/job/k".into() };
        let tls = Tls {
            check: ServerCheck::AuthorityAndName,
            authorities: Some("/job/ca x.pem".into()),
            identity: Some(identity),
        };
        assert_eq!(url.tls(), Some(&tls));
        assert_eq!(parse("?sslmode=require").unwrap().for_client(), "postgres://u:p?w@h/d");
    }

    #[test]
    fn each_mode_says_what_is_checked() {
        for (query, check) in [
            ("", None),
            ("?sslmode=disable", None),
            ("?sslmode=require", Some(ServerCheck::Nothing)),
            ("?sslmode=verify-ca&sslrootcert=system", Some(ServerCheck::Authority)),
            ("?sslmode=verify-full", Some(ServerCheck::AuthorityAndName)),
        ] {
            let url = parse(query).unwrap();
            assert_eq!(url.tls().map(|tls| tls.check), check, "{query}");
            assert_eq!(url.tls().and_then(|tls| tls.authorities.clone()), None, "{query}");
        }
    }

    #[test]
    fn what_would_be_less_secure_than_it_looks_is_refused() {
        for (query, said) in [
            ("?sslmode=prefer", "goes on in plaintext"),
            ("?sslmode=allow", "goes on in plaintext"),
            ("?sslmode=verify", "cannot be \"verify\""),
            ("?sslrootcert=ca.pem", "does not use them"),
            ("?sslmode=disable&sslcert=a&sslkey=b", "does not use them"),
            ("?sslmode=require&sslrootcert=ca.pem", "has no use"),
            ("?sslmode=verify-full&sslcert=a", "only one is given"),
        ] {
            let refused = parse(query).unwrap_err();
            assert!(refused.what.contains(said), "{query}: {refused:?}");
            assert!(!format!("{refused:?}").contains("p?w"), "{refused:?}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", parse("?sslmode=require").unwrap()).contains("p?w"));
    }
}
