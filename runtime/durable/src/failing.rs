//! Failpoints, for tests only: at each of them the process can be killed from outside.
//!
//! `FAILPOINTS="commit::after_journal=3*off->return"` kills this process (SIGKILL, as `kill -9` does) the fourth time it
//! passes that edge; `return(stop)` stops it there (SIGSTOP) until it is told to continue. Owns: the list of edges. The feature
//! `testing` compiles it in; a release binary lacks it.

/// Every edge, in the order in which an epoch and a checkpoint pass them.
pub const EDGES: &[&str] = &[
    "commit::before_stage",
    "commit::after_stage",
    "commit::after_detail",
    "commit::after_journal",
    "commit::amid_publish",
    "commit::after_publish",
    "commit::after_apply",
    "checkpoint::before_image",
    "checkpoint::after_image",
    "checkpoint::amid_upload",
    "checkpoint::before_manifest",
    "checkpoint::after_manifest",
    "checkpoint::amid_collection",
    "recovery::before_generation",
    "recovery::after_generation",
    "recovery::after_fence",
    "recovery::amid_restore",
    "recovery::amid_reexecution",
    "recovery::before_live",
];

/// Kills the process when the failpoint is set to `return`; stops it when it is set to `return(stop)`.
pub fn hit(name: &'static str) {
    debug_assert!(EDGES.contains(&name));
    // Reads FAILPOINTS once; the scenario ends with the process.
    static READ: std::sync::Once = std::sync::Once::new();
    READ.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    fail::fail_point!(name, |how: Option<String>| {
        if how.as_deref() == Some("stop") {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            return;
        }
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way; nothing may happen meanwhile.
        loop {
            std::thread::park();
        }
    });
}
