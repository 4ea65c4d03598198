//! The proxies do what they say, against a server of a few lines.

mod http;
mod tcp;
