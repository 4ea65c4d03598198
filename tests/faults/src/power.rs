//! A power failure of the machine: what was not synced is gone.
//!
//! Owns: a disk that keeps no more than POSIX promises, the contents of files that were synced and the names in folders that were
//! synced, and of the others what chance leaves. It follows the system calls of a run, and is then cut off anywhere. Needs `strace`,
//! and the right to trace. Does not own: the local state, of which a failure may leave anything; here it leaves nothing.

use crate::lab::{Lab, finish, text};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CALLS: &str = "trace=openat,creat,write,writev,pwrite64,pwritev,ftruncate,copy_file_range,fsync,fdatasync,\
                     rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat";

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    /// The number of a file, which may have several names.
    File(usize),
}

/// The names that the processes of the machine see, and what of them a failure would leave.
#[derive(Clone, Default)]
struct Disk {
    seen: BTreeMap<PathBuf, Entry>,
    kept: BTreeMap<PathBuf, Entry>,
    /// Of each file, whether all that was written to it is on the disk.
    synced: Vec<bool>,
}

impl Disk {
    fn file(&mut self, path: &Path) -> usize {
        if let Some(Entry::File(number)) = self.seen.get(path) {
            return *number;
        }
        self.synced.push(false);
        self.seen.insert(path.to_owned(), Entry::File(self.synced.len() - 1));
        self.synced.len() - 1
    }

    fn sync(&mut self, path: &Path) {
        match self.seen.get(path) {
            Some(Entry::File(number)) => self.synced[*number] = true,
            Some(Entry::Folder) => {
                self.kept.retain(|name, _| name.parent() != Some(path));
                let inside = self.seen.iter().filter(|(name, _)| name.parent() == Some(path));
                self.kept.extend(inside.map(|(name, entry)| (name.clone(), *entry)));
            }
            None => {}
        }
    }

    fn apply(&mut self, call: &Call) {
        let path = |at: usize| call.paths.get(at).unwrap_or_else(|| panic!("a call without its paths: {}", call.name));
        match call.name.as_str() {
            "openat" | "creat" => {
                let new = !self.seen.contains_key(path(0));
                if call.flags.contains("O_DIRECTORY") || (new && !call.flags.contains("O_CREAT")) {
                    return;
                }
                let number = new.then(|| self.file(path(0)));
                if let (None, true, Some(Entry::File(old))) = (number, call.flags.contains("O_TRUNC"), self.seen.get(path(0))) {
                    self.synced[*old] = false;
                }
            }
            "write" | "writev" | "pwrite64" | "pwritev" | "ftruncate" | "copy_file_range" => {
                let Some(path) = call.paths.last().filter(|path| self.seen.contains_key(*path)) else { return };
                let number = self.file(path);
                self.synced[number] = false;
            }
            "fsync" | "fdatasync" => self.sync(path(0)),
            "mkdir" | "mkdirat" => {
                self.seen.insert(path(0).clone(), Entry::Folder);
            }
            "rename" | "renameat" | "renameat2" => {
                let entry = self.seen.remove(path(0)).expect("what is renamed was seen");
                self.seen.insert(path(1).clone(), entry);
            }
            "link" | "linkat" => {
                let entry = *self.seen.get(path(0)).expect("what is linked was seen");
                self.seen.insert(path(1).clone(), entry);
            }
            "unlink" | "unlinkat" => {
                self.seen.remove(path(0));
            }
            other => panic!("{other} is not followed"),
        }
    }

    /// What is found after a failure: names, each with whether its contents are. Of what was not synced, what `survives`. A name is
    /// found only if each folder above it is.
    fn found(&self, root: &Path, survives: &mut dyn FnMut(&Path) -> bool) -> Vec<(PathBuf, Entry, bool)> {
        let mut names = self.kept.clone();
        for (path, entry) in &self.seen {
            if survives(path) {
                names.insert(path.clone(), *entry);
            }
        }
        let mut found = Vec::new();
        for (path, entry) in &names {
            if path.ancestors().skip(1).take_while(|above| *above != root).all(|above| names.contains_key(above)) {
                let synced = matches!(entry, Entry::File(number) if self.synced[*number]);
                found.push((path.clone(), *entry, synced || survives(path)));
            }
        }
        found
    }
}

/// A system call that succeeded.
struct Call {
    name: String,
    /// Of its arguments, the paths below the folder of the run.
    paths: Vec<PathBuf>,
    flags: String,
}

/// The calls of a trace, in the order in which they returned.
fn calls(trace: &str, root: &Path) -> Vec<Call> {
    let mut unfinished: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (process, rest) = line.split_once(char::is_whitespace).expect("strace names the process");
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, begun.to_owned());
            continue;
        }
        let whole = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let end = resumed.split_once("resumed>").expect("a call that is resumed").1;
                unfinished.remove(process).expect("it had begun") + end
            }
            None => rest.to_owned(),
        };
        let Some((name, arguments)) = whole.split_once('(') else { continue };
        let Some((arguments, result)) = arguments.rsplit_once(" = ") else { continue };
        if result.starts_with('-') || result.starts_with('?') {
            continue;
        }
        // A path is in quotes, or what a descriptor stands for: 3</a/path>.
        let quoted = arguments.split('"').skip(1).step_by(2);
        let stands_for = arguments.split(['<', '>']).skip(1).step_by(2);
        let all: Vec<&str> = if name.starts_with("open") || !arguments.contains('<') || name.ends_with("at") || name.ends_with("at2") {
            quoted.collect()
        } else {
            stands_for.collect()
        };
        assert!(all.iter().all(|path| path.starts_with('/') || !name.starts_with("rename")), "a relative path: {line}");
        let ours = |path: &&str| Path::new(path).starts_with(root) && !Path::new(path).starts_with(root.join("work"));
        let paths: Vec<PathBuf> = all.into_iter().filter(ours).map(PathBuf::from).collect();
        if !paths.is_empty() {
            calls.push(Call { name: name.to_owned(), paths, flags: arguments.to_owned() });
        }
    }
    calls
}

/// Runs the pipeline to its end, and gives its calls.
fn traced(lab: &Lab) -> Vec<Call> {
    let root = lab.path("").canonicalize().expect("the folder of the run");
    let trace = lab.path("trace");
    let run = lab.command(&["run", "-q"]);
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", CALLS, "-e", "signal=none", "-o"]).arg(&trace);
    command.arg(run.get_program()).args(run.get_args());
    command.env_remove("FAILPOINTS").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command.spawn().expect("strace is installed"));
    assert!(output.status.success(), "this test must be allowed to trace: {}", text(&output.stderr));
    calls(&std::fs::read_to_string(&trace).expect("a trace"), &root)
}

/// Makes what the failure left of `from` in the folder of `to`.
fn leave(disk: &Disk, survives: &mut dyn FnMut(&Path) -> bool, from: &Lab, contents: &HashMap<usize, PathBuf>, to: &Lab) {
    let (root, target) = (from.path("").canonicalize().expect("a folder"), to.path(""));
    // The inputs were there before.
    for input in from.inputs() {
        std::fs::copy(&input, target.join(input.file_name().expect("a file"))).expect("the input");
    }
    for (path, entry, whole) in disk.found(&root, &mut |path| survives(path.strip_prefix(&root).expect("below the folder"))) {
        let copy = target.join(path.strip_prefix(&root).expect("below the folder"));
        match entry {
            Entry::Folder => std::fs::create_dir_all(&copy).expect("a folder"),
            // A name whose file was not synced stands for nothing, as it does after a failure on ext4.
            Entry::File(number) => {
                let bytes = contents.get(&number).filter(|_| whole).map(|path| std::fs::read(path).expect("a file"));
                std::fs::write(&copy, bytes.unwrap_or_default()).expect("a file");
            }
        }
    }
}

#[test]
fn a_power_failure_at_any_moment_takes_no_committed_row() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let lab = Lab::new(seed, 6_000);
    let calls = traced(&lab);
    lab.check();

    let mut disk = Disk::default();
    disk.seen.insert(lab.path("").canonicalize().expect("the folder of the run"), Entry::Folder);
    let mut disks = Vec::new();
    let mut commits = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        disk.apply(call);
        disks.push(disk.clone());
        let creates = call.name.starts_with("link") || call.name.starts_with("rename");
        if creates && call.paths.last().is_some_and(|path| path.components().any(|part| part.as_os_str() == "journal")) {
            commits.push(number);
        }
    }
    assert!(commits.len() >= 20, "{} entries of the journal among {} calls", commits.len(), calls.len());
    let contents: HashMap<usize, PathBuf> =
        disk.seen.iter().filter_map(|(path, entry)| matches!(entry, Entry::File(_)).then(|| (path, *entry))).map(|(path, entry)| match entry {
            Entry::File(number) => (number, path.clone()),
            Entry::Folder => unreachable!(),
        }).collect();

    // Right after a commit, when the shard believes most; a little later, when it publishes; and anywhere.
    let mut cuts = BTreeSet::from([calls.len() - 1]);
    for _ in 0..5 {
        let commit = commits[random.random_range(0..commits.len())];
        cuts.extend([commit, (commit + random.random_range(1..12)).min(calls.len() - 1), random.random_range(0..calls.len())]);
    }
    for cut in cuts {
        // The store is on another disk, which lost nothing; nothing survives that was not synced; or whatever chance leaves.
        for left in ["the store", "nothing", "some"] {
            let after = Lab::new(seed, 0);
            let mut survives = |path: &Path| match left {
                "the store" => path.starts_with("store"),
                "nothing" => false,
                _ => random.random(),
            };
            leave(&disks[cut], &mut survives, &lab, &contents, &after);
            let output = after.segno(&["run", "-q"]);
            let at = format!("seed {seed}, {left} survived call {cut} of {}, {} of {:?}", calls.len(), calls[cut].name, calls[cut].paths);
            assert!(output.status.success(), "{at}: {}", text(&output.stderr));
            assert!(after.output() == lab.output(), "{at}: the output differs");
            assert!(after.dead_letters() == lab.dead_letters(), "{at}: the dead letters differ");
        }
    }
}
