//! Wraps core modules that were built with the SDK as components: `componentize TARGET_FOLDER MODULE…`.
//!
//! `segno build` does this and the compilation for a plugin's author; the Makefile compiles all first-party plugins in
//! one go and only wraps here.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(target) = args.next() else {
        eprintln!("usage: componentize TARGET_FOLDER MODULE…");
        return ExitCode::from(2);
    };
    for module in args {
        let module = Path::new(&module);
        let out = Path::new(&target).join(module.file_name().unwrap_or_default());
        let wrapped = std::fs::read(module)
            .map_err(|error| error.to_string())
            .and_then(|bytes| segno_plugin::component::componentize(&bytes).map_err(|error| error.to_string()))
            .and_then(|component| write_changed(&out, &component).map_err(|error| error.to_string()));
        if let Err(error) = wrapped {
            eprintln!("{}: {error}", module.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A file that does not change keeps its time, so that what depends on it is not made again.
fn write_changed(out: &Path, component: &[u8]) -> std::io::Result<()> {
    if std::fs::read(out).is_ok_and(|old| old == component) {
        return Ok(());
    }
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(out, component)
}
