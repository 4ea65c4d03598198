//! Brokers that want TLS, a password and rights: what is right works, and what is wrong is told with a code, soon, and
//! without the secret.

use crate::lab::*;
use crate::servers::Brokers;
use crate::whole::Pipeline;
use segno_core::pipeline::KafkaSinkSpec;
use segno_core::sink::{Ownership, Sink};
use segno_core::source::{KafkaConnection, KafkaSpec};
use segno_core::{Code, Error};
use segno_kafka::{KafkaSink, KafkaSource};
use std::time::{Duration, Instant};

/// A refusal is told in this time, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

struct Lab {
    brokers: Brokers,
    passwords: std::collections::BTreeMap<String, String>,
    address: String,
}

impl Lab {
    fn start() -> Lab {
        let brokers = Brokers::secured();
        let known = brokers.known().kafka;
        use_brokers(known.bootstrap);
        let address = format!("127.0.0.1:{}", known.brokers[0].secured_port);
        Lab { brokers, passwords: known.passwords, address }
    }

    fn settings(&self, mechanism: &str, user: &str) -> Vec<(&'static str, String)> {
        vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", mechanism.to_owned()),
            ("sasl.username", user.to_owned()),
            ("sasl.password", self.passwords[user].clone()),
            ("ssl.ca.location", self.brokers.path("kafka-1/ca.pem").display().to_string()),
        ]
    }

    /// Some settings changed.
    fn connection(&self, user: &str, changed: &[(&'static str, &str)]) -> KafkaConnection {
        let mut connection = KafkaConnection { brokers: self.address.clone(), settings: Default::default() };
        for (name, value) in self.settings("PLAIN", user) {
            connection.settings.insert(name.to_owned(), value);
        }
        for (name, value) in changed {
            connection.settings.insert((*name).to_owned(), (*value).to_owned());
        }
        connection
    }
}

/// The error of something, which must come soon and hold no secret.
fn refused<T>(secrets: &[&str], act: impl FnOnce() -> Result<T, Error>) -> Error {
    let started = Instant::now();
    let Err(error) = act() else { panic!("it was let in") };
    assert!(started.elapsed() < SOON, "told after {:?}: {error}", started.elapsed());
    let said = format!("{error:?}");
    assert!(secrets.iter().all(|secret| !said.contains(secret)), "a secret was told: {said}");
    error
}

#[test]
fn secured_brokers_are_read_and_written_and_what_is_wrong_is_told_without_secrets() {
    let lab = Lab::start();
    let topic = topic("secured", 1, &[]);
    let (all, topics, ids) = (["--operation", "All"], ["--topic", "*"], ["--transactional-id", "*"]);
    let grant = |user: &str, what: &[&str]| {
        lab.brokers.grant(&[&["--allow-principal", &format!("User:{user}")], &all[..], what].concat());
    };
    grant("alice", &[&topics[..], &ids, &["--group", "*"]].concat());
    grant("bob", &topics);
    grant("carol", &ids);

    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let settings = lab.settings(mechanism, "alice");
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}: \"{value}\"")).collect();
        let reach = format!("brokers: \"{}\", settings: {{ {} }}", lab.address, settings.join(", "));
        let pipeline = Pipeline { reach: Some(reach), ..Pipeline::new(41) };
        pipeline.complete();
        pipeline.check(mechanism);
        pipeline.replay(mechanism);
    }

    let password = lab.passwords["alice"].as_str();
    let read = |connection| KafkaSource::open(&KafkaSpec { connection, ..spec(&[&topic]) });
    let other = lab.brokers.path("other-ca.pem");
    let other = other.display().to_string();
    let mut openssl = std::process::Command::new("openssl");
    openssl.args([
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-x509",
        "-subj",
        "/CN=another",
        "-keyout",
        "/dev/null",
        "-out",
        &other,
    ]);
    assert!(openssl.output().expect("openssl, which servers.py needs too").status.success());
    for (what, changed, code, words) in [
        ("a wrong password", [("sasl.password", "not-this-one")], Code::KafkaDenied, "uthentication"),
        ("a mechanism that is not there", [("sasl.mechanism", "SCRAM-SHA-256")], Code::KafkaDenied, "mechanism"),
        ("another authority", [("ssl.ca.location", other.as_str())], Code::KafkaDenied, "certificate"),
        ("no TLS", [("security.protocol", "SASL_PLAINTEXT")], Code::KafkaUnreachable, "security.protocol"),
    ] {
        let error = refused(&[password, "not-this-one"], || read(lab.connection("alice", &changed)));
        assert_eq!(error.code(), code, "{what}: {error}");
        assert!(format!("{error:?}").contains(words), "{what}: {error:?}");
    }
    let plain = KafkaConnection { brokers: lab.address.clone(), settings: Default::default() };
    let error = refused(&[], || read(plain));
    assert!(error.code() == Code::KafkaUnreachable && format!("{error:?}").contains("security.protocol"), "{error:?}");

    // Rights.
    let error = refused(&[], || read(lab.connection("carol", &[])));
    assert_eq!(error.code(), Code::KafkaDenied, "{error}");
    let write = |user: &str| {
        let spec = KafkaSinkSpec { connection: lab.connection(user, &[]), ..crate::sink::spec(&topic) };
        let owner = Ownership { tenant: "t".to_owned(), pipeline: name("p"), shard: "single".to_owned(), generation: 1 };
        KafkaSink::open("out", &spec).and_then(|mut sink| {
            sink.take_over(&owner)?;
            sink.start_after(0)?;
            sink.publish(&crate::sink::rows(0..3).at(1), &[])
        })
    };
    write("alice").expect("all rights are enough");
    let error = refused(&[], || write("carol"));
    assert!(error.code() == Code::KafkaDenied && error.to_string().contains(&topic), "{error}");
    let error = refused(&[], || write("bob"));
    assert!(error.code() == Code::KafkaDenied && error.to_string().contains("transactional id"), "{error}");
}
