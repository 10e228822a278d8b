//! `minimesh redirect`: programs interception in the pod's network namespace, once, before the application starts.
//!
//! Decides first (`plan`: pure, what the tables hold), acts later (`netlink`: one transaction per table). Replacing is
//! atomic and idempotent; `--print` shows the plan and touches nothing; `--remove` takes it away. It never runs another
//! program. Outbound interception is convenience, not a security boundary; inbound policy is.

mod args;
mod netlink;
mod plan;
mod text;

pub use args::{Args, PortRanges};
pub use netlink::Error;

use netlink::Batch;
use plan::Plan;

/// Does what the arguments ask for.
pub fn run(args: Args) -> Result<(), Error> {
    let plan = Plan::from(&args);
    if args.print {
        print!("{plan}");
        return Ok(());
    }
    for table in &plan.tables {
        if args.remove { Batch::remove(table).commit()? } else { Batch::replace(table).commit()? }
    }
    let done = if args.remove { "removed" } else { "programmed" };
    println!("{done} {}", plan.tables.iter().map(plan::Table::name).collect::<Vec<_>>().join(", "));
    Ok(())
}
