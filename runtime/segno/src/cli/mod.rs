//! The command line.
//!
//! - `console`: data on standard output, everything else on standard error
//! - `log`: what goes on, line by line
//! - `panics`: a panic as an error
//! - `report`: errors as people and as programs read them
//! - `author`: a plugin's project: new, build, test, dev
//! - one file for each group of the other commands
//!
//! Owns: arguments, words and exit codes: 0 success, 1 a check or a run failed, 2 usage, 78 configuration.
//! Does not own: anything that a command does (`worker`, `segno_plugin`, `segno_core::pipeline`).
//!
//! Invariants: standard output carries data only. Every flag has an environment variable. Nothing is asked.

mod author;
mod check;
mod checkpoint;
mod config;
mod console;
mod dlq;
mod doctor;
mod log;
mod panics;
mod pipeline;
mod plugin;
mod replay;
mod report;
mod run;
mod state;
mod status;
mod tap;

use clap::{CommandFactory, Parser, Subcommand};
use console::{Console, Output};
use segno_core::pipeline::Pipeline;
use segno_core::{Code, Error, Kind};
use std::path::PathBuf;
use std::process::ExitCode;

/// A stream runtime whose transforms are sandboxed, deterministic WebAssembly components.
#[derive(Parser)]
#[command(name = "segno", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct Global {
    /// How results and errors are written.
    #[arg(short, long, global = true, env = "SEGNO_OUTPUT", value_enum, default_value_t = Output::Text)]
    output: Output,
    /// No progress, no notes, no warnings.
    #[arg(short, long, global = true, env = "SEGNO_QUIET", value_parser = clap::builder::BoolishValueParser::new())]
    quiet: bool,
    /// Log more: -v what happens, -vv why.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What to log, as in `info` or `segno=debug,warn`; beats -v.
    #[arg(long, global = true, env = "SEGNO_LOG", value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a pipeline until its input ends; Ctrl-C finishes the epoch and makes a checkpoint.
    Run(run::RunArgs),
    /// Check a pipeline file, its plugins, and every edge between them.
    Validate(pipeline::ValidateArgs),
    /// Show what a running pipeline is doing.
    Status(status::StatusArgs),
    /// The same, drawn anew each second.
    Top(status::TopArgs),
    /// Show records on their way past a step of a running pipeline; make a scenario of them.
    Tap(tap::TapArgs),
    /// Execute history again and compare it with what was recorded.
    Replay(replay::ReplayArgs),
    /// Make, list and verify checkpoints.
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// Look into keyed state.
    #[command(subcommand)]
    State(state::StateCommand),
    /// Look at dead letters, and put them through the pipeline again.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Make a plugin's project that runs at once: plugin, pipeline, sample data, golden test.
    New(author::new::NewArgs),
    /// Build a plugin's crate into a component.
    Build(author::build::BuildArgs),
    /// Build a project's plugin, run its scenarios, and compare its columns with their contract.
    Test(author::test::TestArgs),
    /// Build and run on the sample data again whenever a file changes.
    Dev(author::dev::DevArgs),
    /// Check a plugin: may it run, and does it depend on anything it should not?
    Check(check::CheckArgs),
    /// Show what a plugin reads, gives and keeps.
    Inspect(plugin::InspectArgs),
    /// Explain an error code.
    Explain(config::ExplainArgs),
    /// Show a pipeline's configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the JSON Schema of the pipeline file.
    Schema,
    /// Check this machine.
    Doctor(doctor::DoctorArgs),
    /// Print the completions of a shell.
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What a command ends with: an exit code, or errors that are still to be shown.
type Outcome = Result<u8, Failure>;

/// One error or several.
struct Failure(Vec<Error>);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(vec![error])
    }
}

impl From<Vec<Error>> for Failure {
    fn from(errors: Vec<Error>) -> Failure {
        Failure(errors)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    crate::memory::keep_what_is_free();
    panics::prepare();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json() => {
            Console::new(Output::Json, false).error(&misunderstood(&error));
            return ExitCode::from(Kind::Usage.exit_code());
        }
        Err(error) => error.exit(),
    };
    let console = Console::new(cli.global.output, cli.global.quiet);
    log::start(&console, cli.global.verbose, cli.global.log.as_deref());
    let outcome = panics::caught(|| match cli.command {
        Command::Run(args) => run::run(&console, args),
        Command::Validate(args) => pipeline::validate(&console, &args),
        Command::Status(args) => status::status(&console, &args),
        Command::Top(args) => status::top(&console, &args),
        Command::Tap(args) => tap::run(&console, &args),
        Command::Replay(args) => replay::replay(&console, &args),
        Command::Checkpoint(command) => checkpoint::run(&console, command),
        Command::State(command) => state::run(&console, command),
        Command::Dlq(command) => dlq::run(&console, command),
        Command::New(args) => author::new::new(&console, &args),
        Command::Build(args) => author::build::run(&console, &args),
        Command::Test(args) => author::test::run(&console, &args),
        Command::Dev(args) => author::dev::run(&console, &args),
        Command::Check(args) => check::check(&console, &args),
        Command::Inspect(args) => plugin::inspect(&console, &args),
        Command::Explain(args) => config::explain(&console, &args),
        Command::Config(command) => config::run(&console, command),
        Command::Schema => config::schema(&console),
        Command::Doctor(args) => doctor::doctor(&console, &args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "segno", &mut script);
            console.bytes(&script);
            Ok(0)
        }
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Failure(errors)) => {
            for error in &errors {
                console.error(error);
            }
            // The first error names the kind; a run that failed for several reasons failed for the first.
            ExitCode::from(errors.first().map_or(1, |error| error.kind().exit_code()))
        }
    }
}

/// Whether a command line that cannot be understood asks for JSON all the same.
fn wants_json() -> bool {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let said = words.windows(2).any(|pair| matches!([&*pair[0], &*pair[1]], ["-o" | "--output", "json"]));
    let one_word = words.iter().any(|word| matches!(&**word, "-ojson" | "-o=json" | "--output=json"));
    said || one_word || std::env::var("SEGNO_OUTPUT").is_ok_and(|output| output == "json")
}

/// The first paragraph of what the parser says is the error; the rest helps.
fn misunderstood(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let (message, help) = text.split_once("\n\n").unwrap_or((&text, ""));
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    Error::new(Code::Misunderstood, flat(message.trim_start_matches("error: "))).with_help(flat(help))
}

/// A pipeline file as an argument.
#[derive(clap::Args)]
struct PipelineFile {
    /// The pipeline file.
    #[arg(value_name = "FILE", env = "SEGNO_PIPELINE")]
    file: PathBuf,
}

/// A shard as an argument.
#[derive(clap::Args)]
struct Shard {
    /// Only this shard of a pipeline with sharding: by_partition, by its number; all of them if not given.
    #[arg(long, env = "SEGNO_SHARD", value_name = "N")]
    shard: Option<u32>,
    /// Only this stage of a pipeline with repartition steps: the step that it begins with, or `source` for the first; all of
    /// them if not given.
    #[arg(long, env = "SEGNO_STAGE", value_name = "STEP")]
    stage: Option<String>,
}

impl Shard {
    /// The stages that a command is about.
    fn stages(&self, pipeline: Pipeline) -> Result<Vec<Pipeline>, Error> {
        let mut stages = pipeline.into_stages();
        let Some(wanted) = &self.stage else { return Ok(stages) };
        let names: Vec<String> = stages.iter().map(|stage| stage.stage_name().to_owned()).collect();
        stages.retain(|stage| stage.stage_name() == wanted);
        if stages.is_empty() {
            return Err(Error::new(Code::UnknownStage, format!("the pipeline has no stage \"{wanted}\""))
                .with_help(format!("its stages are: {}", names.join(", "))));
        }
        Ok(stages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                let named = arg.get_long().is_some_and(|long| !matches!(long, "help" | "version" | "verbose"));
                if named {
                    let env = arg.get_env().map(|env| env.to_string_lossy().into_owned()).unwrap_or_default();
                    assert!(env.starts_with("SEGNO_"), "{} --{}", command.get_name(), arg.get_id());
                }
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    /// Flattened arguments with one name would read each other's values; clap notices it in debug builds only.
    #[test]
    fn no_two_arguments_of_a_command_have_one_name() {
        fn walk(command: &clap::Command) {
            let ids: Vec<&str> = command.get_arguments().map(|arg| arg.get_id().as_str()).collect();
            let twice = ids.iter().enumerate().find(|(at, id)| ids[..*at].contains(id));
            assert_eq!(twice, None, "{}", command.get_name());
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn every_command_and_flag_is_described() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                assert!(arg.get_help().is_some(), "{} --{}", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
