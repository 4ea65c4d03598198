//! Plugins in C: sources that clang compiles for wasm32, with the sources of the SDK.
//!
//! Owns: finding clang and wasm-ld, what they are told, and the files of a new project. Does not own: the SDK (`sdk/c`), the
//! wrapping and admission (`segno_plugin`).
//!
//! Invariants: the same sources and the same clang give the same component, wherever they lie: no path of this machine is in it.
//! No header of this machine is seen; what is imported are Segno's interfaces.

use super::{Built, Files, Language, Profile, carried};
use crate::cli::author::template::{Blank, Template};
use segno_core::{Code, Error, Place, Result};
use segno_plugin::admission;
use segno_plugin::component::componentize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const MANIFEST: &str = "plugin.toml";
/// The folder of the SDK in a project.
const SDK: &str = "segno";
/// What names other programs than those on the path.
const CLANG: &str = "SEGNO_CLANG";
const LINKER: &str = "SEGNO_WASM_LD";
/// The oldest clang that the SDK is tested with; its linker has to be of the same version, since it finishes compiling.
const OLDEST: u32 = 14;
const NEWEST_LOOKED_FOR: u32 = 25;
const INSTALL: &str = "apt-get install clang lld (Debian, Ubuntu), or LLVM's clang and lld elsewhere";

/// The same instructions everywhere: integers wrap, a product and a sum are rounded apart, relaxed vectors stay off. No date
/// gets into the component, and stack that was never written is the same each time.
const ALL: [&str; 13] = [
    "--target=wasm32", "-O2", "-mbulk-memory", "-msimd128", "-mnontrapping-fptoint", "-ffreestanding", "-nostdlibinc", "-fwrapv",
    "-ffp-contract=off", "-ftrivial-auto-var-init=pattern", "-Werror=date-time", "-Werror=implicit-function-declaration", "-Wall",
];
const WHOLE: &str = "-flto";
/// Called by the compiler itself, which link-time optimisation would not know.
const APART: &str = "wide.c";
/// What would go on with a wrong value names its line instead.
const CHECKS: [&str; 2] = [
    "-fsanitize=integer-divide-by-zero,bounds,shift,float-cast-overflow,unreachable,return,null",
    "-fno-sanitize-recover=all",
];
const LINK: [&str; 6] = ["--no-entry", "-O2", "--stack-first", "-z", "stack-size=65536", "-o"];
/// The world in wit/transform.wit, as a section of its own.
const WORLD: &str = "src/world.s";

pub struct C;

/// A clang and a linker of one version.
struct Toolchain {
    clang: PathBuf,
    linker: PathBuf,
    said: String,
}

struct Project {
    name: String,
    version: String,
    folder: PathBuf,
    /// Relative to the folder.
    sources: Vec<String>,
    sdk: PathBuf,
}

/// What a program says of its version: the line, and the first number of the version.
fn version(program: &Path) -> Option<(String, u32)> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    let said = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
    let number = said.split(|c: char| c.is_whitespace() || c == '-').find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))?;
    let major = number.split('.').next()?.parse().ok()?;
    Some((said.trim().to_owned(), major))
}

/// Programs of that name, the plain one first.
fn candidates(variable: &str, name: &str) -> Vec<PathBuf> {
    match std::env::var_os(variable) {
        Some(named) => vec![PathBuf::from(named)],
        None => {
            let numbered = (OLDEST..=NEWEST_LOOKED_FOR).rev().map(|number| PathBuf::from(format!("{name}-{number}")));
            std::iter::once(PathBuf::from(name)).chain(numbered).collect()
        }
    }
}

impl Toolchain {
    fn find() -> Result<Toolchain> {
        let missing = |what: String| {
            Error::new(Code::ToolchainMissing, what).with_help(format!("{INSTALL}; or name them with {CLANG} and {LINKER}"))
        };
        let found = |variable, name| -> Vec<(PathBuf, String, u32)> {
            let known = candidates(variable, name).into_iter();
            known.filter_map(|program| version(&program).map(|(said, major)| (program, said, major))).collect()
        };
        let (clangs, linkers) = (found(CLANG, "clang"), found(LINKER, "wasm-ld"));
        let Some((_, said, newest)) = clangs.iter().max_by_key(|(_, _, major)| *major) else {
            let named = std::env::var(CLANG).unwrap_or_else(|_| "clang".to_owned());
            return Err(missing(format!("plugins in C cannot be built here: {named} cannot be started")));
        };
        if *newest < OLDEST {
            return Err(Error::new(Code::ToolchainOld, format!("{said} is there, and the SDK needs {OLDEST} or newer")).with_help(INSTALL));
        }
        let pair = clangs.iter().filter(|one| one.2 >= OLDEST).find_map(|clang| {
            let linker = linkers.iter().find(|linker| linker.2 == clang.2)?;
            Some(Toolchain { clang: clang.0.clone(), linker: linker.0.clone(), said: clang.1.clone() })
        });
        let pair = pair.ok_or_else(|| match linkers.first() {
            None => missing("plugins in C cannot be built here: wasm-ld cannot be started".to_owned()),
            Some((_, linker, _)) => Error::new(Code::ToolchainOld, format!("{said} needs a wasm-ld of its version, and {linker} is there"))
                .with_help(format!("{INSTALL}; or name them with {CLANG} and {LINKER}")),
        })?;
        let targets = Command::new(&pair.clang).arg("--print-targets").output();
        if !targets.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("wasm32")) {
            return Err(missing(format!("{} cannot compile for wasm32", pair.said)));
        }
        Ok(pair)
    }
}

impl Language for C {
    fn name(&self) -> &'static str {
        "c"
    }

    fn manifest(&self) -> &'static str {
        MANIFEST
    }

    fn toolchain(&self, _: &Path) -> Result<String> {
        Ok(Toolchain::find()?.said)
    }

    fn package(&self, folder: &Path) -> Result<Box<dyn super::Package>> {
        Ok(Box::new(Project::read(folder)?))
    }

    /// The name of a file, beside the SDK's folder.
    fn check_name(&self, name: &str) -> Result<()> {
        super::check_name(name, "plugin in C", "the project", |name| name == SDK)
    }

    fn files(&self, blank: &Blank, checkout: Option<&Path>) -> Result<Files> {
        let (code, test) = match blank.template {
            Template::Map => (include_str!("templates/map/plugin.c"), include_str!("templates/map/test.c")),
            Template::Filter => (include_str!("templates/filter/plugin.c"), include_str!("templates/filter/test.c")),
            Template::Window => (include_str!("templates/window/plugin.c"), include_str!("templates/window/test.c")),
            Template::Join => unreachable!("`templates` has no join"),
        };
        let module = blank.module();
        let own = [
            (MANIFEST.to_owned(), include_str!("templates/plugin.toml.in")),
            (format!("{module}.c"), code),
            (format!("test_{module}.c"), test),
            (".gitignore".to_owned(), include_str!("templates/gitignore")),
            ("ci.sh".to_owned(), include_str!("templates/ci.sh")),
            ("test.sh".to_owned(), include_str!("templates/test.sh")),
        ];
        let mut files: Files = own.into_iter().map(|(path, text)| (PathBuf::from(path), blank.fill(text).into_bytes())).collect();
        for (path, carried) in carried::C {
            let bytes = match checkout {
                None => carried.to_vec(),
                Some(checkout) => std::fs::read(checkout.join("sdk/c").join(path)).map_err(|error| {
                    Error::new(Code::NoSdk, format!("{} is no checkout of Segno: it has no sdk/c/{path}", checkout.display()))
                        .with_cause(error)
                        .with_help("name the root of a checkout, or leave --sdk out: the command carries the SDK's sources")
                })?,
            };
            files.push((Path::new(SDK).join(path), bytes));
        }
        Ok(files)
    }

    fn fuel_per_record(&self, blank: &Blank) -> u64 {
        match blank.template {
            Template::Map | Template::Filter => 10_000,
            Template::Window | Template::Join => 100_000,
        }
    }
}

impl Project {
    fn read(folder: &Path) -> Result<Project> {
        let file = folder.join(MANIFEST);
        let failed = |message: String| Error::new(Code::BuildFailed, message).with_place(Place::file(&file));
        let text = std::fs::read_to_string(&file).map_err(|error| failed(format!("{MANIFEST} cannot be read")).with_cause(error))?;
        let manifest: toml_edit::Document<String> =
            text.parse().map_err(|error: toml_edit::TomlError| failed(format!("{MANIFEST} is no TOML")).with_cause(error))?;
        let field = |name: &str| manifest.get("plugin").and_then(|plugin| plugin.get(name));
        let word = |name: &str| field(name).and_then(|value| value.as_str());
        // Both become a part of a command and of the program.
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte)) && !text.is_empty();
        let name = word("name").ok_or_else(|| {
            failed(format!("{MANIFEST} has no name under [plugin]")).with_help("write name = \"big-orders\"; its source is big_orders.c")
        })?;
        let version = word("version").unwrap_or("0.0.0");
        for one in [name, version] {
            if !is_plain(one) {
                return Err(failed(format!("\"{}\" is no name or version of a plugin", one.escape_debug())).with_help("use a-z, 0-9, -, _ and ."));
            }
        }
        let listed = field("sources").and_then(|value| value.as_array());
        let sources: Vec<String> = match listed {
            Some(all) => all.iter().filter_map(|one| one.as_str()).map(str::to_owned).collect(),
            None => vec![format!("{}.c", name.replace('-', "_"))],
        };
        for source in &sources {
            if !folder.join(source).is_file() {
                return Err(failed(format!("the project has no {source}"))
                    .with_help(format!("{MANIFEST} names the plugin's sources: name.c, or sources = [\"one.c\", \"two.c\"] under [plugin]")));
            }
        }
        let sdk = PathBuf::from(word("sdk").unwrap_or(SDK));
        if !folder.join(&sdk).join("include/segno.h").is_file() {
            return Err(failed(format!("{} has no include/segno.h: it is not the SDK", folder.join(&sdk).display()))
                .with_help(format!("`segno new` puts the SDK into {SDK}/; another folder is named by sdk under [plugin]")));
        }
        Ok(Project { name: name.to_owned(), version: version.to_owned(), folder: folder.to_owned(), sources, sdk })
    }

    /// One source, as it is named in the project's folder; several are compiled at the same time.
    fn compile(&self, toolchain: &Toolchain, profile: Profile, source: &Path, is_own: bool, object: &Path) -> Command {
        let mut clang = Command::new(&toolchain.clang);
        clang.current_dir(&self.folder).args(ALL);
        let is_apart = source.file_name().is_some_and(|name| name == APART);
        if profile == Profile::Release && !is_apart {
            clang.arg(WHOLE);
        }
        if is_own {
            clang.args(CHECKS);
            clang.arg(format!("-DSEGNO_NAME=\"{}\"", self.name)).arg(format!("-DSEGNO_VERSION=\"{}\"", self.version));
        }
        for folder in ["sandbox", "include"] {
            clang.arg("-I").arg(self.sdk.join(folder));
        }
        clang.arg("-c").arg(source).arg("-o").arg(object).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        clang
    }
}

/// The SDK's sources, in the order of their names.
fn parts(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|one| one == "c"));
    found.sort();
    Ok(found)
}

impl super::Package for Project {
    fn component(&self) -> String {
        format!("{}.wasm", self.name.replace('-', "_"))
    }

    fn build(&self, profile: Profile, out: &Path, quiet: bool) -> Result<Built> {
        let toolchain = Toolchain::find()?;
        let started = Instant::now();
        let failed = |message: String| Error::new(Code::BuildFailed, message);
        let scratch = tempfile::tempdir().map_err(|error| failed("no scratch folder can be made".to_owned()).with_cause(error))?;
        let sdk = parts(&self.folder.join(&self.sdk).join("src")).map_err(|error| failed("the SDK cannot be read".to_owned()).with_cause(error))?;
        let sdk = sdk.iter().filter_map(|path| path.file_name()).map(|name| (self.sdk.join("src").join(name), false));
        let own = self.sources.iter().map(|source| (PathBuf::from(source), true));
        let mut objects = Vec::new();
        let mut running = Vec::new();
        let missing = |error: std::io::Error| Error::new(Code::ToolchainMissing, format!("{} cannot be started", toolchain.clang.display())).with_cause(error);
        for (number, (source, is_own)) in own.chain(sdk).enumerate() {
            let object = scratch.path().join(format!("{number}.o"));
            running.push(self.compile(&toolchain, profile, &source, is_own, &object).spawn().map_err(missing)?);
            objects.push(object);
        }
        let world = scratch.path().join("world.o");
        let mut assemble = Command::new(&toolchain.clang);
        assemble.current_dir(self.folder.join(&self.sdk)).args(["--target=wasm32", "-c", WORLD, "-o"]).arg(&world);
        running.push(assemble.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(missing)?);
        objects.push(world);
        let mut is_good = true;
        for one in running {
            let done = one.wait_with_output().map_err(missing)?;
            is_good &= done.status.success();
            if !quiet || !done.status.success() {
                eprint!("{}", String::from_utf8_lossy(&done.stderr));
            }
        }
        if !is_good {
            return Err(failed(format!("clang could not compile {}", self.name))
                .with_help("its messages are above; there is no C library but string.h, math.h, inttypes.h and assert.h in part"));
        }
        let module = scratch.path().join("module.wasm");
        let linked = Command::new(&toolchain.linker)
            .args(LINK)
            .arg(&module)
            .args(&objects)
            .output()
            .map_err(|error| Error::new(Code::ToolchainMissing, format!("{} cannot be started", toolchain.linker.display())).with_cause(error))?;
        if !linked.status.success() {
            let said = String::from_utf8_lossy(&linked.stderr).replace(&format!("{}/", scratch.path().display()), "");
            return Err(failed(format!("wasm-ld could not link {}", self.name)).with_cause(said.trim()).with_help(
                "a symbol that is undefined is a function that the sandbox does not have: segno_take takes memory, segno_format formats",
            ));
        }
        let bytes = std::fs::read(&module).map_err(|error| failed("wasm-ld wrote no module".to_owned()).with_cause(error))?;
        let component = componentize(&bytes)?;
        let inspection = admission::admit(&component)?;
        super::write(out, &component)?;
        Ok(Built { path: out.to_owned(), inspection, took: started.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_is_wrong_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.c"), "").unwrap();
        for (text, said) in [
            ("", "no name"),
            ("[plugin", "no TOML"),
            ("[plugin]\nname = \"a\\\" b\"", "no name or version"),
            ("[plugin]\nname = \"b\"", "has no b.c"),
            ("[plugin]\nname = \"a\"\nsources = [\"a.c\", \"x.c\"]", "has no x.c"),
            ("[plugin]\nname = \"a\"", "it is not the SDK"),
        ] {
            std::fs::write(folder.path().join(MANIFEST), text).unwrap();
            let error = Project::read(folder.path()).err().expect("refused");
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }
}
