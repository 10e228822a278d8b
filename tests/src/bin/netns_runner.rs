//! `netns-runner`: everything of a test that is inside namespaces, started by the test, or by itself.

use std::process::ExitCode;

use minimesh_tests::{Failure, apps, demo, stage};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((role, rest)) = arguments.split_first() else {
        eprintln!("netns-runner is started by tests");
        return ExitCode::from(2);
    };
    let result: Result<(), Failure> = match role.as_str() {
        "app" => apps::run(rest),
        "enter" => stage::enter(rest),
        "init" => stage::init(),
        "node" => stage::node(),
        "watch" => demo::run(rest),
        other => Err(format!("no role {other:?}").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netns-runner {role}: {error}");
            ExitCode::FAILURE
        }
    }
}
