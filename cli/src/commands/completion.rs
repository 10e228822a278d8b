//! `minimesh completion`: what a shell needs to complete this program's commands.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Failure, stats::asking::print_lines};

/// Completion for a shell.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Print a script by which a shell completes commands and flags\n\n\
        Written from the same definitions as --help, so it knows every command and flag of this version.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        print_lines(&[script(self.shell).trim_end().to_owned()])
    }
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut cli = crate::Cli::command();
    cli.build();
    clap_complete::generate(shell, &mut cli, "minimesh", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Print a script by which a shell completes commands and flags";

const EXAMPLES: &str = "Examples:
  # for this shell
  source <(minimesh completion bash)

  # for every one
  minimesh completion bash | sudo tee /etc/bash_completion.d/minimesh
  minimesh completion zsh | sudo tee /usr/share/zsh/site-functions/_minimesh";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_the_commands_and_their_flags() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let script = script(shell);
            for word in ["uninject", "mesh-namespace", "edges"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
