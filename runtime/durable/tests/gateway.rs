//! An S3 server of a test's own: with many accounts, and a bucket that keeps no versions.

use crate::lab::variable;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Accounts `key-1` to this one, with secrets `secret-1`…: more than any test uses.
pub const ACCOUNTS: usize = 20;
/// The server is up within a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// An S3 server with many accounts: the one that all tests share has one.
pub struct Gateway {
    process: Child,
    pub address: String,
}

impl Gateway {
    pub fn start(folder: &Path) -> Gateway {
        let cache = std::env::var_os("SEGNO_CACHE").map_or_else(|| Path::new(&variable("HOME")).join(".cache/segno"), PathBuf::from);
        let program = cache.join("servers/bin/versitygw");
        assert!(program.exists(), "{} is missing: run the tests with `make test`, which installs it", program.display());
        std::fs::create_dir_all(folder.join("objects/bucket")).expect("a bucket");
        for name in ["iam", "versions"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let account = |number| {
            let access = format!("key-{number}");
            let account = serde_json::json!({
                "access": access, "secret": format!("secret-{number}"), "role": "admin", "userID": 0, "groupID": 0, "projectID": 0
            });
            (access, account)
        };
        let accounts: serde_json::Map<String, serde_json::Value> = (1..=ACCOUNTS).map(account).collect();
        let users = serde_json::json!({ "accessAccounts": accounts });
        std::fs::write(folder.join("iam/users.json"), users.to_string()).expect("accounts");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").to_string();
        let process = Command::new(program)
            .args(["--quiet", "--port", &address, "--access", "root", "--secret", "of-nobody", "--iam-dir"])
            .arg(folder.join("iam"))
            .args(["posix", "--versioning-dir"])
            .arg(folder.join("versions"))
            .arg(folder.join("objects"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let gateway = Gateway { process, address };
        let started = Instant::now();
        while TcpStream::connect(&gateway.address).is_err() {
            assert!(started.elapsed() < PATIENCE, "the server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
