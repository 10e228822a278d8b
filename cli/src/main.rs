//! The minimesh program: one multi-call binary that contains every part of the mesh.
//!
//! A part is named by the first argument (`minimesh proxy …`) or by the link it was started through (`minimesh-proxy …`).
//! `demo` starts its parts as `/proc/self/exe ROLE`. This file decides nothing but which part runs; it starts no thread and
//! no runtime, because the roles of the demo that enter namespaces must still be single-threaded when they begin.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "minimesh runs on Linux only: it needs network namespaces and nf_tables (on other systems use a Linux VM)"
);

mod commands;
mod demo;
mod run_dir;
#[allow(dead_code)]
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

/// A small service mesh: mutual TLS, routing and golden metrics between services.
#[derive(Parser)]
#[command(name = "minimesh", version, disable_help_subcommand = true)]
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

/// `minimesh-proxy ARGS` means `minimesh proxy ARGS`.
fn multi_call(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let link = arguments.first().and_then(|name| Path::new(name).file_name()).and_then(|name| name.to_str());
    let part = match link {
        Some("minimesh-control-plane") => "control-plane",
        Some("minimesh-proxy") => "proxy",
        _ => return arguments,
    };
    arguments.insert(1, part.into());
    arguments
}

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

    #[test]
    fn link_name_selects_the_part() {
        assert_eq!(multi_call(words("/bin/minimesh-proxy --help")), words("/bin/minimesh-proxy proxy --help"));
        assert_eq!(
            multi_call(words("minimesh-control-plane --listen x")),
            words("minimesh-control-plane control-plane --listen x")
        );
    }

    #[test]
    fn program_name_leaves_arguments_alone() {
        assert_eq!(multi_call(words("./minimesh stat")), words("./minimesh stat"));
        assert_eq!(multi_call(Vec::new()), Vec::<OsString>::new());
    }
}
