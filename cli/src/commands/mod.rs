//! The table of commands: one file and one line each, in alphabetical order.
//!
//! A command file owns its arguments, its help and its examples, and calls the part that does the work; it does no work itself.
//! Help is given as attributes and not as doc comments, because those of flattened arguments would take their place; the short
//! one stands here, because a command's own description is made only when that command is asked for.

mod bypass;
mod check;
mod completion;
mod control_plane;
mod demo;
mod demo_role;
mod edges;
mod identity;
mod inject;
mod injector;
mod install;
mod proxy;
mod proxy_dump;
mod redirect;
mod sock_shop;
mod stat;
mod uninject;
mod uninstall;
mod upgrade;
mod version;

use crate::Failure;

/// What `minimesh` can be asked to do.
#[derive(clap::Subcommand)]
// a part reads its own arguments only: the code that describes the others' would stay in a sidecar's memory (docs/adr/008)
#[command(defer = true)]
pub(crate) enum Command {
    #[command(about = bypass::ABOUT)]
    Bypass(bypass::Args),
    #[command(about = check::ABOUT)]
    Check(check::Args),
    #[command(about = completion::ABOUT)]
    Completion(completion::Args),
    #[command(about = control_plane::ABOUT)]
    ControlPlane(control_plane::Args),
    #[command(about = demo::ABOUT)]
    Demo(demo::Args),
    #[command(hide = true)]
    DemoRole(demo_role::Args),
    #[command(about = edges::ABOUT)]
    Edges(edges::Args),
    #[command(about = identity::ABOUT)]
    Identity(identity::Args),
    #[command(about = inject::ABOUT)]
    Inject(inject::Args),
    #[command(about = injector::ABOUT)]
    Injector(injector::Args),
    #[command(about = install::ABOUT)]
    Install(install::Args),
    #[command(about = proxy::ABOUT)]
    Proxy(proxy::Args),
    #[command(about = proxy_dump::ABOUT)]
    ProxyDump(proxy_dump::Args),
    #[command(about = redirect::ABOUT)]
    Redirect(redirect::Args),
    #[command(hide = true)]
    SockShop(sock_shop::Args),
    #[command(about = stat::ABOUT)]
    Stat(stat::Args),
    #[command(about = uninject::ABOUT)]
    Uninject(uninject::Args),
    #[command(about = uninstall::ABOUT)]
    Uninstall(uninstall::Args),
    #[command(about = upgrade::ABOUT)]
    Upgrade(upgrade::Args),
    #[command(about = version::ABOUT)]
    Version(version::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Command::Bypass(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Completion(args) => args.run(),
            Command::ControlPlane(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::DemoRole(args) => args.run(),
            Command::Edges(args) => args.run(),
            Command::Identity(args) => args.run(),
            Command::Inject(args) => args.run(),
            Command::Injector(args) => args.run(),
            Command::Install(args) => args.run(),
            Command::Proxy(args) => args.run(),
            Command::ProxyDump(args) => args.run(),
            Command::Redirect(args) => args.run(),
            Command::SockShop(args) => args.run(),
            Command::Stat(args) => args.run(),
            Command::Uninject(args) => args.run(),
            Command::Uninstall(args) => args.run(),
            Command::Upgrade(args) => args.run(),
            Command::Version(args) => args.run(),
        }
    }
}
