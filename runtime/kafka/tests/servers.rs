//! Brokers, by the script that starts them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn script() -> PathBuf {
    Path::new(".").join("../../scripts/servers/servers.py")
}

/// What a folder of servers says of its brokers.
#[derive(serde::Deserialize)]
pub struct Known {
    pub kafka: Cluster,
}

#[derive(serde::Deserialize)]
pub struct Cluster {
    pub bootstrap: String,
    pub brokers: Vec<BrokerPorts>,
    #[serde(default)]
    pub passwords: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
pub struct BrokerPorts {
    pub proxied_port: u16,
    pub proxy_port: u16,
    pub secured_port: u16,
}

pub fn known(folder: &Path) -> Known {
    let text = std::fs::read(folder.join("servers.json")).expect("servers.json");
    serde_json::from_slice(&text).expect("what servers.py writes")
}

/// The brokers that all tests share.
pub fn shared() -> Known {
    match std::env::var_os("SEGNO_TEST_SERVERS") {
        Some(folder) => known(Path::new(&folder)),
        None => panic!("SEGNO_TEST_SERVERS is not set: run the tests with `make test`, which starts a broker"),
    }
}

/// Brokers of one test's own, since their end would disturb the others.
pub struct Brokers {
    folder: tempfile::TempDir,
}

impl Brokers {
    pub fn start(count: usize) -> Brokers {
        let brokers = Brokers { folder: tempfile::tempdir().expect("a folder") };
        brokers.call("up", &["--kafka", &count.to_string()]);
        brokers
    }

    /// One broker, with a listener that wants TLS, passwords and rights.
    pub fn secured() -> Brokers {
        let brokers = Brokers { folder: tempfile::tempdir().expect("a folder") };
        brokers.call("up", &["--kafka", "1", "--secured"]);
        brokers
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Grants a right with Kafka's own tool, which only it can.
    pub fn grant(&self, arguments: &[&str]) {
        let tool = script().with_file_name("kafka-tool.sh");
        let mut command = Command::new(tool);
        command.args(["acls", "--bootstrap-server", &self.known().kafka.bootstrap, "--add"]).args(arguments);
        let output = command.output().expect("kafka-tool.sh");
        assert!(output.status.success(), "kafka-tool.sh acls: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn known(&self) -> Known {
        known(self.folder.path())
    }

    pub fn call(&self, verb: &str, arguments: &[&str]) {
        let output = Command::new(script()).arg(verb).arg(self.folder.path()).args(arguments).output().expect("servers.py");
        assert!(output.status.success(), "servers.py {verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn kill(&self, id: i32) {
        self.call("stop", &[&format!("kafka:{id}"), "--kill"]);
    }

    pub fn start_again(&self, id: i32) {
        self.call("start", &[&format!("kafka:{id}")]);
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        self.call("down", &[]);
    }
}
