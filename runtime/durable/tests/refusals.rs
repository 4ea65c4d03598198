//! What a store says that will not pass, and what does: each has its code.

use crate::lab::{disturbed, new_url, open, variable, variables};
use bytes::Bytes;
use segno_core::{Code, Kind};
use segno_durable::store::Objects;
use segno_proxy::http::Act;
use segno_proxy::tcp::{Faults, TcpProxy};
use std::path::Path;

/// The code of a write, a create, a read, a look and a listing; they must agree.
fn codes(objects: &Objects) -> Vec<Code> {
    let body = Bytes::from_static(b"body");
    vec![
        objects.put("a/1", body.clone()).expect_err("put").code(),
        objects.create("a/1", body).expect_err("create").code(),
        objects.get("a/1").expect_err("get").code(),
        objects.head("a/1").expect_err("head").code(),
        objects.list("a").expect_err("list").code(),
    ]
}

#[test]
fn a_refusal_that_stays_has_a_code_and_is_not_repeated() {
    let (proxy, objects, _) = disturbed();
    for (status, code, expected) in [
        (403, "AccessDenied", Code::StoreDenied),
        (403, "SignatureDoesNotMatch", Code::StoreDenied),
        (403, "RequestTimeTooSkewed", Code::StoreDenied),
        (401, "Unauthorized", Code::StoreDenied),
        (400, "InvalidRequest", Code::StoreDenied),
        (301, "PermanentRedirect", Code::StoreDenied),
        (501, "NotImplemented", Code::StoreDenied),
    ] {
        proxy.decide(move |_| Act::Answer { status, code: code.to_owned() });
        let before = proxy.seen().requests;
        assert_eq!(codes(&objects), [expected; 5], "{status} {code}");
        assert_eq!(proxy.seen().requests - before, 5, "{status} {code}: one for each operation");
    }
    let error = objects.get("a/1").expect_err("refused");
    assert!(error.to_string().contains("NotImplemented"), "the store's own word is shown: {error}");
}

#[test]
fn a_bucket_that_is_not_there_is_never_taken_for_an_empty_one() {
    let url = "s3://segno-no-such-bucket/prefix";
    let objects = open(url, &variable("SEGNO_TEST_S3"));
    let body = Bytes::from_static(b"body");
    assert_eq!(objects.get("a").expect_err("get").code(), Code::NoBucket);
    assert_eq!(objects.put("a", body.clone()).expect_err("put").code(), Code::NoBucket);
    assert_eq!(objects.create("a", body).expect_err("create").code(), Code::NoBucket);
    assert_eq!(objects.list("a").expect_err("list").code(), Code::NoBucket);
    assert_eq!(objects.prove_conditional_create().expect_err("a start").code(), Code::NoBucket);
}

#[test]
fn wrong_keys_and_wrong_secrets_are_never_taken_for_an_empty_store() {
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let mut variables = variables(&variable("SEGNO_TEST_S3"));
        variables.retain(|(found, _)| found != name);
        variables.push((name.to_owned(), "wrong".to_owned()));
        let objects = Objects::open_with(&new_url(), Path::new("."), ["t", "p", "s"], variables).expect("a store");
        assert_eq!(codes(&objects), [Code::StoreDenied; 5], "{name}");
    }
    let (proxy, objects, _) = disturbed();
    for (status, code) in [(403, "InvalidAccessKeyId"), (403, "ExpiredToken"), (400, "ExpiredToken"), (400, "TokenRefreshRequired")] {
        proxy.decide(move |_| Act::Answer { status, code: code.to_owned() });
        assert_eq!(codes(&objects), [Code::StoreCredentials; 5], "{status} {code}");
    }
}

#[test]
fn a_store_that_is_away_is_transient() {
    let server = variable("SEGNO_TEST_S3");
    let proxy = TcpProxy::start(server.trim_start_matches("http://")).expect("a proxy");
    let objects = open(&new_url(), &format!("http://{}", proxy.address()));
    objects.put("a", Bytes::from_static(b"body")).expect("written");
    proxy.set(Faults { refuse: true, ..Faults::default() });
    proxy.cut();
    let error = objects.get("a").expect_err("connections are closed at once");
    assert_eq!((error.code(), error.kind()), (Code::StoreUnusable, Kind::Transient));
    let address = proxy.address();
    drop(proxy);
    let error = objects.get("a").expect_err("nobody listens");
    assert_eq!(error.code(), Code::StoreUnusable);
    // Back at its place, it works again with the same client.
    let _proxy = TcpProxy::start_at(address, server.trim_start_matches("http://")).expect("a proxy");
    assert_eq!(objects.get("a").expect("an answer").as_deref(), Some(b"body".as_slice()));
}
