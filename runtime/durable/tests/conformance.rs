//! A folder and a bucket behave alike.

use crate::gateway::Gateway;
use crate::lab::{direct, file_of, noise};
use bytes::Bytes;
use segno_durable::store::{Created, Objects, Versioning, WHOLE_BYTES_MAX, count_winners};
use std::path::Path;

fn conforms(objects: &Objects) {
    assert_eq!(objects.get("a/1").expect("an answer"), None);
    assert_eq!(objects.head("a/1").expect("an answer"), None);
    objects.delete("a/1").expect("what is absent is deleted already");
    assert!(objects.list("a").expect("names").is_empty());

    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    assert_eq!(objects.create("a/1", first.clone()).expect("an answer"), Created::Ours);
    assert_eq!(objects.create("a/1", first.clone()).expect("an answer"), Created::Ours, "bytes are unique, so they are ours");
    assert_eq!(objects.create("a/1", second.clone()).expect("an answer"), Created::Theirs(first.clone()));
    assert_eq!(objects.get("a/1").expect("an answer"), Some(first), "a lost create changes nothing");

    objects.put("a/2", Bytes::from_static(b"one")).expect("written");
    objects.put("a/2", second.clone()).expect("overwritten");
    assert_eq!(objects.get("a/2").expect("an answer"), Some(second));
    assert_eq!(objects.head("a/2").expect("an answer"), Some(6));
    objects.put("a/empty", Bytes::new()).expect("written");
    assert_eq!(objects.head("a/empty").expect("an answer"), Some(0));
    assert_eq!(objects.get_sized("a/empty", 0).expect("an answer"), Some(Bytes::new()));
    let mut names: Vec<String> = objects.list("a").expect("names").into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["1", "2", "empty"]);
    objects.delete("a/2").expect("deleted");
    assert_eq!(objects.get("a/2").expect("an answer"), None);

    // In parts, both ways, with an end that fills no part.
    let large = Bytes::from(noise(WHOLE_BYTES_MAX + 12_345));
    objects.put_file("files/large", file_of(&large).path(), large.len() as u64).expect("written");
    assert_eq!(objects.head("files/large").expect("an answer"), Some(large.len() as u64));
    assert!(objects.get_sized("files/large", large.len() as u64).expect("an answer") == Some(large.clone()));
    assert!(objects.get("files/large").expect("an answer") == Some(large.clone()));
    let other = objects.get_sized("files/large", large.len() as u64 + 1).expect("an answer").expect("an object");
    assert_ne!(other.len(), large.len() + 1, "an object of another length is not made to fit");
    assert_eq!(count_winners(objects).expect("a race"), 1);
    objects.prove_conditional_create().expect("proven");
    objects.prove_conditional_create().expect("proven, and remembered");
}

#[test]
fn a_folder_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", folder.path().display());
    let objects = Objects::open(&url, Path::new("."), "tenant", "pipeline", "single").expect("a store");
    conforms(&objects);
    assert_eq!(objects.versioning().expect("an answer"), Versioning::NotABucket);
}

#[test]
fn a_bucket_conforms() {
    let objects = direct();
    conforms(&objects);
    assert_eq!(objects.versioning().expect("an answer"), Versioning::On, "the test server's bucket keeps versions");
}

#[test]
fn a_bucket_without_versions_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path());
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://{}", gateway.address)),
        ("AWS_ACCESS_KEY_ID", "key-1".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret-1".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let objects = Objects::open_with("s3://bucket", Path::new("."), ["t", "p", "s"], variables).expect("a store");
    assert_eq!(objects.versioning().expect("an answer"), Versioning::Off);
    objects.prove_conditional_create().expect("also at the root of a bucket");
}
