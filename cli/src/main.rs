//! The minimesh program: one multi-call binary that contains every part of the mesh.
//!
//! A part is named by the first argument (`minimesh proxy …`) or by the link it was started through (`minimesh-proxy …`).
//! `demo` starts its parts as `/proc/self/exe ROLE`. This file decides nothing but which part runs; it starts no thread and
//! no runtime, because the roles of the demo that enter namespaces must still be single-threaded when they begin.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "minimesh runs on Linux only: it needs network namespaces and nf_tables (on other systems use a Linux VM)"
);

mod api_server;
mod check;
mod cluster;
mod commands;
mod demo;
mod identities;
mod installation;
mod manifest;
mod run_dir;
mod stats;

use std::{error::Error, ffi::OsString, io::Write, path::Path, process::ExitCode};

use clap::Parser;

/// Why the program ends with a status other than zero.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What is said on stderr; empty where everything has been said.
    message: String,
    status: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), status: 1 }
    }

    /// What is to be said.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Everything has been said already; only the status is left.
    pub(crate) fn silent(status: u8) -> Failure {
        Failure { message: String::new(), status }
    }
}

/// Any error ends the program: its text, then those of its causes that it does not repeat.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Failure::new(message)
    }
}

/// The command line.
#[derive(Parser)]
#[command(
    name = "minimesh",
    bin_name = "minimesh",
    version,
    about = "A small service mesh: mutual TLS, routing and golden metrics between services",
    long_about = "A small service mesh: mutual TLS, routing and golden metrics between services\n\n\
        One program holds every part. `minimesh demo` runs the mesh on this machine, without a cluster.",
    after_long_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(multi_call(std::env::args_os().collect()));
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                // a closed stderr must not turn a clean failure into a panic
                let _ = writeln!(std::io::stderr(), "minimesh: {}", failure.message);
            }
            ExitCode::from(failure.status)
        }
    }
}

/// `minimesh-proxy ARGS` means `minimesh proxy ARGS`, and `minimesh proxy dump` is a command of its own: the sidecar's flags are
/// none of its.
fn multi_call(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let link = arguments.first().and_then(|name| Path::new(name).file_name()).and_then(|name| name.to_str());
    let part = match link {
        Some("minimesh-control-plane") => "control-plane",
        Some("minimesh-injector") => "injector",
        Some("minimesh-proxy") => "proxy",
        _ if arguments.get(1..3).is_some_and(|words| words[0] == "proxy" && words[1] == "dump") => {
            arguments.splice(1..3, ["proxy-dump".into()]);
            return arguments;
        }
        _ => return arguments,
    };
    arguments.insert(1, part.into());
    arguments
}

const EXAMPLES: &str = "Examples:
  # the mesh on this machine, with traffic
  minimesh demo

  # from another terminal: who talks to whom, and golden metrics
  minimesh edges
  minimesh stat

  # more about a command
  minimesh stat --help";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// With everything that is otherwise described when it is asked for.
    fn described() -> clap::Command {
        let mut cli = Cli::command();
        cli.build();
        cli
    }

    /// What people are shown, the program itself last.
    fn visible(cli: &clap::Command) -> impl Iterator<Item = &clap::Command> {
        let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
        cli.get_subcommands().filter(shown).chain([cli])
    }

    #[test]
    fn a_list_of_commands_says_what_each_does() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("  stat           Golden metrics of the running mesh\n"), "{help}");
    }

    #[test]
    fn every_visible_command_has_a_short_and_a_long_help_with_examples() {
        let cli = described();
        for command in visible(&cli) {
            let name = command.get_name();
            let [short, long] =
                [command.get_about(), command.get_long_about()].map(|text| text.expect(name).to_string());
            assert!(!short.contains('\n') && long.len() > 2 * short.len(), "{name}: {long}");
            let examples = command.get_after_long_help().expect(name).to_string();
            assert!(examples.starts_with("Examples:\n"), "{name}: {examples}");
            assert!(command.get_after_help().is_none(), "{name}: -h is the short one");
        }
    }

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        let mut seen = 0;
        let cli = described();
        for command in visible(&cli) {
            let examples = command.get_after_long_help().expect("examples").to_string().replace("\\\n", " ");
            for example in examples.lines().filter(|line| line.starts_with("  minimesh ")) {
                let (line, _pipe) = example.split_once(" | ").unwrap_or((example, ""));
                match Cli::try_parse_from(multi_call(words(&line.split_whitespace().collect::<Vec<_>>().join(" ")))) {
                    Ok(_) => {}
                    Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {}
                    Err(error) => panic!("{example}: {error}"),
                }
                seen += 1;
            }
        }
        assert!(seen >= 15, "{seen} examples");
    }

    #[test]
    fn link_name_selects_the_part() {
        assert_eq!(multi_call(words("/bin/minimesh-proxy --help")), words("/bin/minimesh-proxy proxy --help"));
        assert_eq!(
            multi_call(words("minimesh-control-plane --listen x")),
            words("minimesh-control-plane control-plane --listen x")
        );
    }

    #[test]
    fn proxy_dump_is_a_command_of_two_words() {
        assert_eq!(multi_call(words("minimesh proxy dump web")), words("minimesh proxy-dump web"));
    }

    #[test]
    fn program_name_leaves_arguments_alone() {
        assert_eq!(multi_call(words("./minimesh stat")), words("./minimesh stat"));
        assert_eq!(multi_call(Vec::new()), Vec::<OsString>::new());
    }
}
