//! `minimesh sock-shop`: one service of the shop.

use crate::Failure;

/// One service of the shop.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::new("sock-shop: this part is not built into this program yet"))
    }
}
