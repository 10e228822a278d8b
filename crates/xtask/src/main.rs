//! Tasks of this repository: `cargo xtask test`, `ci`, `check`, `gen-docs`, `icount`, `fuzz`, `bench`, `kits`, `image`, `cluster`.
//!
//! Dispatches and nothing else. No task needs more than the standard library and `serde_json`, so that the tool compiles in
//! seconds on a machine that has nothing yet.

mod bench;
mod cache;
mod checks;
mod ci;
mod cluster;
mod compat;
mod docs;
mod fuzz;
mod host;
mod icount;
mod image;
mod report;
mod source;
mod test;
mod workspace;

use std::process::ExitCode;

use report::Report;
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask TASK

  test [--only LAYER]                run the tests; the last line reads `N passed, N failed, N skipped`
                                     (layers: unit, netns, compat, cluster)
  test --soak DURATION               the soak alone, as long as that: 90s, 30m, 2h
  ci [--without-tests]               format, lints, house style, documentation, tests
  check                              house style alone: sizes, module docs, layers, names, paths
  fuzz [--seconds N] [TARGET]        give the parsers bytes that nobody would send; 20 s each, unless said otherwise
  icount [--accept REASON]           instructions, allocations and bytes of a request, beside the committed baseline
  kits                               fetch what the compat layer needs, and print the shell's lines in which a test finds it
  bench [--quick] [--rounds N] [--only NAME,…] [--profile NAME] [--keep] [--report]
                                     minimesh beside its peers; --keep writes into benches/ what is to be committed,
                                     --report makes the page again of what the last run has measured
  gen-docs [--check]                 write docs/errors.md and docs/reference/, or say whether they are up to date
  image [--arch amd64|arm64] […]     one static image with every part of the mesh, as a tar for `ctr images import`,
                                     `k3s ctr images import` and `docker load` (`image --help` says more)
  cluster up [NODES]|down|…          a real Kubernetes in namespaces of this machine (root; `cluster help` says more)
  cluster build                      only build what it is made of
  cluster images | servers           build and load the images that tests put into pods; those of Debian's servers alone
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments == ["kits"] {
        return kits();
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

/// Prints no report: `eval "$(cargo xtask kits)"` is how one case is run by itself.
fn kits() -> ExitCode {
    match Workspace::load() {
        Ok(workspace) => {
            let (environment, said) = compat::prepare(&workspace);
            eprintln!("{said}");
            for (name, value) in environment {
                println!("export {name}='{}'", value.replace('\'', "'\\''"));
            }
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    let workspace = Workspace::load()?;
    let mut report = Report::default();
    match *arguments {
        ["test"] => test::run(&workspace, test::Layer::ALL, &mut report),
        ["test", "--only", layer] => {
            let layer = test::Layer::from_name(layer).ok_or_else(|| format!("no test layer {layer:?}\n{USAGE}"))?;
            test::run(&workspace, &[layer], &mut report);
        }
        ["test", "--soak", duration] => test::soak(&workspace, duration, &mut report)?,
        ["cluster", ref rest @ ..] => return cluster::command(&workspace, rest).map(ExitCode::from),
        ["image", "help" | "--help" | "-h"] => {
            println!("{}", image::USAGE);
            return Ok(ExitCode::SUCCESS);
        }
        ["image", ref rest @ ..] => {
            return image::make(&workspace, image::Wanted::parse(rest)?).map(|_| ExitCode::SUCCESS);
        }
        ["ci"] => ci::run(&workspace, ci::Tests::Run, &mut report),
        ["ci", "--without-tests"] => ci::run(&workspace, ci::Tests::Leave, &mut report),
        ["check"] => checks::run(&workspace, &mut report),
        ["bench", ref wanted @ ..] => bench::run(&workspace, &bench::Wanted::parse(wanted)?, &mut report),
        ["fuzz", ref wanted @ ..] => fuzz::run(&workspace, &fuzz::Wanted::parse(wanted)?, &mut report),
        ["icount"] => icount::run(&workspace, icount::Mode::Compare, &mut report),
        ["icount", "--accept", reason] => icount::run(&workspace, icount::Mode::Accept(reason), &mut report),
        ["gen-docs"] => docs::run(&workspace, docs::Mode::Write, &mut report),
        ["gen-docs", "--check"] => docs::run(&workspace, docs::Mode::Compare, &mut report),
        _ => return Err(format!("unknown task\n{USAGE}")),
    }
    Ok(report.finish())
}
