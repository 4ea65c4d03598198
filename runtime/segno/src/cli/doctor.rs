//! `segno doctor`: is this machine ready, and if not, what to do.
//!
//! Owns: the list of checks. Each says what it found and, when that is bad, what to do. Nothing outside scratch folders
//! is changed; in a checkpoint store, only a probe object is written and removed.

use super::Outcome;
use super::author::language;
use super::console::{Console, number, size};
use super::pipeline::read;
use crate::worker::load::{cache_dir, work_dir};
use segno_core::Error;
use segno_core::pipeline::{Pipeline, StoreUrl};
use segno_durable::state::{Mark, StateStore};
use segno_durable::store::{Objects, RACERS, Versioning, count_winners};
use segno_plugin::Engine;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Open files that a run may need: state files, input files and their readers.
const FILES_WANTED: u64 = 4_096;
/// Free space in the work folder, bytes: state, its images while they are uploaded, logs.
const SPACE_WANTED: u64 = 2 << 30;

/// Where a store is tried: beside the shards, under a name that no shard has.
const PROBED: &str = "_doctor";

#[derive(clap::Args)]
pub struct DoctorArgs {
    /// A pipeline file, to check its checkpoint store and work folder, too.
    #[arg(value_name = "FILE", env = "SEGNO_PIPELINE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Good,
    /// Works, with less than one would want.
    Poor,
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    health: Health,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

fn good(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, health: Health::Good, found: found.into(), advice: None }
}

fn not_good(check: &'static str, health: Health, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, health, found: found.into(), advice: Some(advice.into()) }
}

pub fn doctor(console: &Console, args: &DoctorArgs) -> Outcome {
    let pipeline = args.file.as_deref().map(read).transpose()?;
    let progress = console.progress();
    progress.set(|| "looking".to_owned());
    let mut findings = languages().chain([engine(), plugin_cache(), state_store(), open_files(), cores()]).collect::<Vec<_>>();
    let work = pipeline.as_ref().map_or_else(std::env::temp_dir, work_dir);
    findings.push(space(&work));
    if let Some(pipeline) = &pipeline {
        findings.extend(checkpoint_store(pipeline));
    }
    drop(progress);
    let bad = findings.iter().any(|finding| finding.health == Health::Bad);
    for finding in &findings {
        console.result(|| describe(finding), finding);
    }
    Ok(u8::from(bad))
}

fn describe(finding: &Finding) -> String {
    let mark = match finding.health {
        Health::Good => "ok  ",
        Health::Poor => "poor",
        Health::Bad => "BAD ",
    };
    let mut text = format!("{mark}  {:<18} {}\n", finding.check, finding.found);
    if let Some(advice) = &finding.advice {
        text.push_str(&format!("      {:<18} → {advice}\n", ""));
    }
    text
}

/// Whoever writes no plugin in a language needs nothing of it: what is missing is never bad.
fn languages() -> impl Iterator<Item = Finding> {
    language::all().into_iter().map(|language| match language.toolchain(Path::new(".")) {
        Ok(found) => good(language.name(), found),
        Err(error) => not_good(language.name(), Health::Poor, error.message(), error.help().unwrap_or("see `segno explain P010`")),
    })
}

fn engine() -> Finding {
    match Engine::new(None) {
        Ok(engine) => good("engine", engine.fingerprint()),
        Err(error) => not_good("engine", Health::Bad, error.to_string(), error.help().unwrap_or("this processor cannot run the engine")),
    }
}

fn plugin_cache() -> Finding {
    let folder = cache_dir();
    match scratch_in(&folder) {
        Ok(()) => good("plugin cache", folder.display().to_string()),
        Err(error) => not_good(
            "plugin cache",
            Health::Poor,
            format!("{}: {error}", folder.display()),
            "plugins are compiled at every start; name a writable folder with SEGNO_PLUGIN_CACHE",
        ),
    }
}

fn scratch_in(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    tempfile::tempfile_in(folder).map(drop)
}

fn state_store() -> Finding {
    let open = || -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("state");
        let store = StateStore::open(&path).map_err(|error| error.to_string())?;
        store.apply(&Mark { epoch: 1, chain: "doctor".to_owned(), watermark: None }, [("step", 0, &b"key"[..], Some(&b"value"[..]))].into_iter()).map_err(|error| error.to_string())?;
        drop(store);
        let store = StateStore::open(&path).map_err(|error| error.to_string())?;
        let found = store.get_many("step", 0, [&b"key"[..]].into_iter()).map_err(|error| error.to_string())?;
        if found == [Some(b"value".to_vec())] { Ok(()) } else { Err("a value did not come back".to_owned()) }
    };
    match open() {
        Ok(()) => good("state store", "opens, writes and reads back"),
        Err(error) => not_good("state store", Health::Bad, error, "check space and permissions of the folder for temporary files (TMPDIR)"),
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let found = if limit == u64::MAX { "no limit".to_owned() } else { format!("at most {}", number(limit)) };
    if limit >= FILES_WANTED {
        good("open files", found)
    } else {
        not_good("open files", Health::Poor, found, format!("raise the limit: ulimit -n {FILES_WANTED}"))
    }
}

fn cores() -> Finding {
    match std::thread::available_parallelism() {
        Ok(cores) => good("cores", cores.to_string()),
        Err(error) => not_good("cores", Health::Poor, error.to_string(), "say threads: in the pipeline file"),
    }
}

fn space(folder: &Path) -> Finding {
    // The folder may not be there yet: its nearest ancestor is on the same disk.
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} free in {}", size(free), folder.display());
            if free >= SPACE_WANTED {
                good("disk space", found)
            } else {
                not_good("disk space", Health::Poor, found, format!("have {} for state and its images, or say work_dir:", size(SPACE_WANTED)))
            }
        }
        Err(error) => not_good("disk space", Health::Poor, error.to_string(), "check the folder of work_dir"),
    }
}

fn checkpoint_store(pipeline: &Pipeline) -> Vec<Finding> {
    const CHECK: &str = "checkpoint store";
    let (url, made) = match &pipeline.checkpoint.store {
        StoreUrl::File(path) => {
            let path = pipeline.path(path);
            (format!("file://{}", path.display()), folders_of_trial(&path, pipeline))
        }
        StoreUrl::S3(url) => (url.clone(), Vec::new()),
    };
    let bad = |error: Error| not_good(CHECK, Health::Bad, error.to_string(), error.help().unwrap_or("check checkpoint.store"));
    let objects = match Objects::open(&url, Path::new("."), &pipeline.tenant, &pipeline.name, PROBED) {
        Ok(objects) => objects,
        Err(error) => return vec![bad(error)],
    };
    let winners = count_winners(&objects);
    for folder in made {
        // One in which somebody else put something meanwhile stays.
        let _ = std::fs::remove_dir(folder);
    }
    match winners {
        Ok(1) => {
            let found = good(CHECK, format!("{url}: writable, and one of {RACERS} racing writers wins"));
            std::iter::once(found).chain(versions(&objects, &url)).collect()
        }
        Ok(winners) => vec![not_good(
            CHECK,
            Health::Bad,
            format!("{url}: {winners} of {RACERS} racing writers believe that they created an object"),
            "use a store with conditional writes (If-None-Match): without them two processes could own one pipeline",
        )],
        Err(error) => vec![bad(error)],
    }
}

/// The folders that a trial in a local store makes, from the innermost outwards.
fn folders_of_trial(store: &Path, pipeline: &Pipeline) -> Vec<PathBuf> {
    let inner = store.join(&pipeline.tenant).join(&pipeline.name).join(PROBED).join("probe");
    inner.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect()
}

/// Versions bring back what was damaged or deleted; a folder has none.
fn versions(objects: &Objects, url: &str) -> Option<Finding> {
    const CHECK: &str = "versions";
    let bucket = url.trim_start_matches("s3://").split('/').next().unwrap_or_default();
    match objects.versioning() {
        Ok(Versioning::NotABucket) => None,
        Ok(Versioning::On) => Some(good(CHECK, format!("bucket {bucket} keeps versions"))),
        Ok(Versioning::Off) => Some(not_good(
            CHECK,
            Health::Poor,
            format!("bucket {bucket} keeps no versions: what is deleted or overwritten by mistake is gone"),
            format!(
                "aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled, \
                 with a lifecycle rule that ends old versions after some days"
            ),
        )),
        Err(error) => Some(not_good(
            CHECK,
            Health::Poor,
            error.to_string(),
            "allow GetBucketVersioning to have this checked; nothing else needs it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_folder_has_conditional_creates() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let objects = Objects::open(&url, Path::new("."), "t", "p", "doctor").unwrap();
        assert_eq!(count_winners(&objects).unwrap(), 1);
        assert!(objects.list("probe").unwrap().is_empty(), "nothing is left behind");
    }

    #[test]
    fn nothing_is_left_in_a_folder_that_was_tried() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.yaml");
        let text = "version: 1\nname: p\nsource: { files: a, format: json }\nsinks: [{ blackhole: {} }]\n\
                    checkpoint: { store: \"file://store\", ephemeral: true }\n";
        let pipeline = Pipeline::parse(&file, text, &|_| None).unwrap();
        let findings = checkpoint_store(&pipeline);
        assert!(findings.iter().all(|finding| finding.health == Health::Good), "{findings:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_bad_comes_with_advice() {
        let shown = describe(&not_good("x", Health::Bad, "found", "do this"));
        assert!(shown.starts_with("BAD ") && shown.contains("→ do this"));
    }
}
