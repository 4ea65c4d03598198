//! The rules of stores, journals and sinks, for a folder, a bucket, a bucket whose answers get lost, and every sink here.

use crate::gateway::Gateway;
use crate::lab::{direct, new_url, open, proxy, variable};
use segno_conformance::store;
use segno_durable::store::{Objects, Versioning};
use segno_proxy::http::{Act, HttpProxy};
use std::path::Path;

mod folder {
    use super::*;

    pub struct Folder(tempfile::TempDir);

    impl store::Fixture for Folder {
        fn new() -> Folder {
            Folder(tempfile::tempdir().expect("a folder"))
        }

        fn open(&self) -> Objects {
            let url = format!("file://{}", self.0.path().display());
            Objects::open(&url, Path::new("."), "tenant", "pipeline", "single").expect("a store")
        }
    }

    segno_conformance::store_rules!(Folder);
    segno_conformance::journal_rules!(Folder);
}

mod bucket {
    use super::*;

    pub struct Bucket(String);

    impl store::Fixture for Bucket {
        fn new() -> Bucket {
            Bucket(new_url())
        }

        fn open(&self) -> Objects {
            open(&self.0, &variable("SEGNO_TEST_S3"))
        }
    }

    segno_conformance::store_rules!(Bucket);
    segno_conformance::journal_rules!(Bucket);
}

/// Every seventh write is applied, and its answer is lost.
mod bucket_that_loses_answers {
    use super::*;

    pub struct Disturbed {
        proxy: HttpProxy,
        url: String,
    }

    impl store::Fixture for Disturbed {
        fn new() -> Disturbed {
            let proxy = proxy();
            let mut writes = 0;
            proxy.decide(move |request| {
                writes += usize::from(request.method == "PUT");
                match (request.method.as_str(), writes % 14) {
                    ("PUT", 0) => Act::ApplyThenCut,
                    ("PUT", 7) => Act::ApplyThenAnswer { status: 503, code: "SlowDown".to_owned() },
                    _ => Act::Pass,
                }
            });
            Disturbed { proxy, url: new_url() }
        }

        fn open(&self) -> Objects {
            open(&self.url, &self.proxy.endpoint())
        }
    }

    segno_conformance::store_rules!(Disturbed);
    segno_conformance::journal_rules!(Disturbed);
}

#[test]
fn a_bucket_with_versions_one_without_and_a_folder_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", folder.path().join("store").display());
    let objects = Objects::open(&url, Path::new("."), "t", "p", "s").expect("a store");
    assert_eq!(objects.versioning().expect("an answer"), Versioning::NotABucket);
    assert_eq!(direct().versioning().expect("an answer"), Versioning::On, "the test server's bucket keeps versions");
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
