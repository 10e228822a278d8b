//! `minimesh redirect`: programs interception in the pod's network namespace, once, before the application starts.
//!
//! Decides first (`plan`: pure, what the tables hold), acts later (`netlink`: one transaction per table). Replacing is
//! atomic and idempotent; `--print` shows the plan and touches nothing; `--remove` takes it away. It never runs another
//! program. Outbound interception is convenience, not a security boundary; inbound policy is.

mod args;
mod netlink;
mod plan;
mod text;

use std::net::IpAddr;

pub use args::{Args, PortRanges};
use netlink::Batch;
pub use netlink::Error;
use plan::{Family, Plan, Table};

/// Does what the arguments ask for, for IPv4 and IPv6. A family that the kernel lacks is said to be absent, once, and tolerated
/// where this pod has no address of it: connections that are not intercepted would leave in plaintext.
pub fn run(args: Args) -> Result<(), Error> {
    let plan = Plan::from(&args);
    if args.print {
        print!("{plan}");
        return Ok(());
    }
    let mut done = Vec::new();
    for table in &plan.tables {
        let batch = if args.remove { Batch::remove(table) } else { Batch::replace(table) };
        match batch.commit() {
            Ok(()) => done.push(table.name()),
            Err(error @ Error::NoModule { .. }) if !has_address(table) => println!("without {}: {error}", table.name()),
            Err(error) => return Err(error),
        }
    }
    println!("{} {}", if args.remove { "removed" } else { "programmed" }, done.join(", "));
    Ok(())
}

/// Whether somebody could reach this pod, or this pod somebody, by the table's family.
fn has_address(table: &Table) -> bool {
    let addresses = crate::net::own_addresses();
    addresses.into_iter().any(|address| match (address, table.family) {
        (IpAddr::V4(_), Family::Ip) => true,
        // every interface has one of its link, and nothing of a cluster is there
        (IpAddr::V6(address), Family::Ip6) => !address.is_unicast_link_local(),
        _ => false,
    })
}
