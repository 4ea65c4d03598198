//! `segno new`: a project that runs before anything is filled in.
//!
//! Owns: which files a project has, and what is refused before the first one is written.
//! Does not own: the SDK's sources (`sdk`); the texts (`templates/`), which a test builds and runs.
//!
//! Invariant: a folder that holds anything is left as it is.

use super::sdk::{self, Sdk};
use super::{CONTRACT, EXPECTED, PIPELINE, SCENARIO, SCENARIOS};
use crate::cli::Outcome;
use crate::cli::console::Console;
use segno_core::pipeline::schema::json_schema;
use segno_core::{Code, Error, Place, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct NewArgs {
    /// Name of the plugin's crate, and of its folder, which is made.
    #[arg(value_name = "NAME")]
    name: String,
    /// The language of the plugin: rust.
    #[arg(long, env = "SEGNO_LANG", value_name = "LANGUAGE", default_value = "rust")]
    lang: String,
    /// What the plugin does with orders: adds a column, leaves some out, or adds up windows of event time.
    #[arg(long, env = "SEGNO_TEMPLATE", value_enum, default_value_t = Template::Map)]
    template: Template,
    /// A checkout of Segno whose SDK the project uses; its sources are copied into the project if not given.
    #[arg(long, env = "SEGNO_SDK", value_name = "PATH")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    Map,
    Filter,
    Window,
}

/// What differs from template to template.
struct Texts {
    code: &'static str,
    pipeline: &'static str,
    contract: &'static str,
    expected: &'static [(&'static str, &'static str)],
    /// What `segno check` must be told.
    check: &'static str,
    /// The budget of a record: several times what it costs, since a few records share the cost of a call.
    fuel: &'static str,
}

macro_rules! text {
    ($($path:literal),+) => { include_str!(concat!("templates/", $($path),+)) };
}

macro_rules! texts {
    ($folder:literal, $check:literal, $fuel:literal, [$($expected:literal),*]) => {
        Texts {
            code: text!($folder, "/lib.rs"),
            pipeline: text!($folder, "/pipeline.yaml"),
            contract: text!($folder, "/contract.json"),
            expected: &[$(($expected, text!($folder, "/expected/", $expected))),*],
            check: $check,
            fuel: $fuel,
        }
    };
}

impl Template {
    fn texts(self) -> Texts {
        match self {
            Template::Map => texts!("map", "", "5000", ["orders.out.jsonl", "dead-letters.jsonl"]),
            Template::Filter => texts!("filter", " --config '{\"min_cents\": 1000}'", "5000", ["orders.out.jsonl", "dead-letters.jsonl"]),
            Template::Window => {
                texts!("window", " --key customer", "100000", ["orders.windows.jsonl", "orders.late.jsonl", "dead-letters.jsonl"])
            }
        }
    }
}

/// Languages whose SDKs are planned, and not there yet.
const LATER: [&str; 5] = ["python", "js", "javascript", "typescript", "c"];
/// A name longer than this makes paths and metric labels that nobody reads.
const NAME_BYTES_MAX: usize = 64;

pub fn new(console: &Console, args: &NewArgs) -> Outcome {
    check_language(&args.lang)?;
    check_name(&args.name)?;
    let sdk = Sdk::new(args.sdk.as_deref())?;
    let folder = PathBuf::from(&args.name);
    check_folder(&folder)?;
    let files = files(&args.name, args.template, &sdk);
    for (name, bytes) in &files {
        write(&folder.join(name), bytes)?;
    }
    make_executable(&folder.join("ci.sh"))?;
    let shown = json!({"folder": folder.display().to_string(), "files": files.len(), "template": format!("{:?}", args.template).to_lowercase()});
    let name = &args.name;
    console.result(
        || format!("{name}/ has a plugin, a pipeline and a golden test. Next:\n  cd {name}\n  segno build\n  segno run {PIPELINE}\n  segno test\n  segno dev\n"),
        &shown,
    );
    Ok(0)
}

fn check_language(lang: &str) -> Result<()> {
    if lang == "rust" {
        return Ok(());
    }
    let why = if LATER.contains(&lang) { "has no SDK yet" } else { "is no language that plugins are written in" };
    Err(Error::new(Code::NoLanguage, format!("\"{lang}\" {why}")).with_help("use --lang rust"))
}

/// The rule of crates, without what Rust itself refuses as a library's name.
fn check_name(name: &str) -> Result<()> {
    /// Keywords of Rust, the crates that every crate has, and what a project depends on.
    const TAKEN: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for \
        gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try \
        type typeof unsafe unsized use virtual where while yield alloc core proc-macro proc_macro std test segno-sdk \
        segno-sdk-derive segno-wire proc-macro2 quote syn unicode-ident";
    let why = match name {
        "" => Some("it is empty"),
        _ if name.len() > NAME_BYTES_MAX => Some("it is longer than 64 characters"),
        _ if !name.starts_with(|first: char| first.is_ascii_lowercase()) => Some("it does not begin with a small letter"),
        _ if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)) => {
            Some("it has other characters than a-z, 0-9, - and _")
        }
        _ if TAKEN.split_whitespace().any(|word| word == name) => Some("Rust or the SDK has it already"),
        _ => None,
    };
    match why {
        None => Ok(()),
        Some(why) => Err(Error::new(Code::NoCrateName, format!("\"{name}\" is no name of a crate: {why}"))
            .with_help("choose a name such as big-orders; the folder gets the same name")),
    }
}

fn check_folder(folder: &Path) -> Result<()> {
    let is_free = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound && folder.symlink_metadata().is_err(),
    };
    if is_free {
        return Ok(());
    }
    Err(Error::new(Code::NotEmpty, format!("{} is there already, and is no empty folder", folder.display()))
        .with_help("choose another name, or empty the folder: nothing is overwritten")
        .with_place(Place::file(folder)))
}

/// Every file of a project, in the order in which they are written.
fn files(name: &str, template: Template, sdk: &Sdk) -> Vec<(PathBuf, Vec<u8>)> {
    let texts = template.texts();
    let module = name.replace('-', "_");
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{module}}", &module)
            .replace("{{sdk}}", &sdk.dependency())
            .replace("{{rust_version}}", env!("CARGO_PKG_RUST_VERSION"))
            .replace("{{check}}", texts.check)
            .replace("{{fuel}}", texts.fuel)
            .into_bytes()
    };
    let sample = text!("common/sample.jsonl");
    let first = Path::new(SCENARIOS).join("first");
    let mut files = vec![
        (PathBuf::from("Cargo.toml"), fill(text!("common/Cargo.toml.in"))),
        (PathBuf::from("Cargo.lock"), sdk::lock().into_bytes()),
        (PathBuf::from("src/lib.rs"), fill(texts.code)),
        (PathBuf::from(PIPELINE), fill(texts.pipeline)),
        (PathBuf::from("pipeline.schema.json"), format!("{:#}\n", json_schema()).into_bytes()),
        (PathBuf::from("sample.jsonl"), fill(sample)),
        (first.join("input.jsonl"), fill(sample)),
        (first.join(SCENARIO), fill(text!("common/scenario.yaml"))),
        (PathBuf::from(CONTRACT), fill(texts.contract)),
        (PathBuf::from(".gitignore"), fill(text!("common/gitignore"))),
        (PathBuf::from("ci.sh"), fill(text!("common/ci.sh"))),
    ];
    files.extend(texts.expected.iter().map(|(file, text)| (first.join(EXPECTED).join(file), fill(text))));
    files.extend(sdk.files().map(|(path, bytes)| (path, bytes.to_vec())));
    files
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(Code::ProjectUnwritable, format!("{} cannot be written", path.display()))
        .with_cause(error)
        .with_help("make the project in a folder that this user may write to, on a disk that has room")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes)).map_err(|error| unwritable(path, error))
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|error| unwritable(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        for good in ["a", "big-orders", "orders_2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "-a", "2x", "Big", "größe", "a b", "../x", "a/b", "fn", "std", "segno-sdk", &"x".repeat(65)] {
            assert_eq!(check_name(wrong).unwrap_err().code(), Code::NoCrateName, "{wrong}");
        }
    }

    #[test]
    fn a_project_has_no_placeholder_left() {
        for template in [Template::Map, Template::Filter, Template::Window] {
            for (path, bytes) in files("big-orders", template, &Sdk::Carried) {
                let text = String::from_utf8_lossy(&bytes);
                assert!(path.starts_with("vendor") || !text.contains("{{"), "{}: {text}", path.display());
            }
        }
    }
}
