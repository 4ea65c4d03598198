//! `segno build`: from a plugin's project to its component.
//!
//! Owns: what is reported. Does not own: how the component is made (`language`).

use super::language::{Built, Profile};
use super::project::Project;
use crate::cli::Outcome;
use crate::cli::console::{Console, size};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct BuildArgs {
    /// Folder of the plugin's project.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Where to write the component; NAME.wasm in DIR if not given.
    #[arg(long, env = "SEGNO_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(console: &Console, args: &BuildArgs) -> Outcome {
    let project = Project::to_build(&args.folder)?;
    let out = args.out.clone().unwrap_or_else(|| args.folder.join(project.package.component()));
    let built = project.make(Profile::Release, &out, console.is_quiet())?;
    let shown = json!({
        "component": built.path.display().to_string(),
        "sha256": built.inspection.sha256,
        "reproducible": project.package.is_reproducible(),
        "bytes": built.inspection.bytes,
        "imports": built.inspection.imports,
        "seconds": built.took.as_secs_f64(),
        "warning": built.inspection.warning(),
    });
    console.result(|| describe(&built, project.package.is_reproducible()), &shown);
    Ok(0)
}

fn describe(built: &Built, is_reproducible: bool) -> String {
    let inspection = &built.inspection;
    let imports = if inspection.imports.is_empty() { "nothing".to_owned() } else { inspection.imports.join(", ") };
    let only_here = if is_reproducible { "" } else { "           of this build: another one of the same sources has another\n" };
    let warning = inspection.warning().map_or_else(String::new, |warning| format!("  warning  {warning}\n"));
    format!(
        "{} ({}, {:.1} s)\n  imports  {imports}\n  sha256   {}\n{only_here}{warning}",
        built.path.display(),
        size(inspection.bytes as u64),
        built.took.as_secs_f64(),
        inspection.sha256,
    )
}
