//! `minimesh sock-shop ROLE`: one service of the demo's shop.

use crate::Failure;

/// One service of the shop.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    shop: sock_shop::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(sock_shop::run(self.shop)?)
    }
}
