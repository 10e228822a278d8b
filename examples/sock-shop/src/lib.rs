//! A stand-in of the Sock Shop: fourteen services with the names, ports, call graph and HTTP surface of the original, and
//! the shoppers that use them. Each runs as `minimesh sock-shop ROLE`.
//!
//! Called by the minimesh program. Knows nothing of the mesh and must never use any other crate of the workspace: it stands
//! for somebody's application.

mod manifests;

use clap::{Args as ClapArgs, Subcommand};

pub use manifests::MANIFESTS;

/// What to run.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Which part of the shop.
    #[command(subcommand)]
    pub role: Role,
    /// Listen on this port instead of the role's own.
    #[arg(long, global = true, env = "MINIMESH_SHOP_PORT", value_name = "PORT")]
    pub port: Option<u16>,
}

/// The parts of the shop. Each listens on the original's port.
#[derive(Clone, Debug, Subcommand)]
pub enum Role {
    /// What each shopper has chosen (HTTP, 80).
    Carts,
    /// Documents of carts, in the manner of MongoDB (27017).
    CartsDb,
    /// The socks on sale (HTTP, 80).
    Catalogue,
    /// Rows of the catalogue, in the manner of MySQL: the server speaks first (3306).
    CatalogueDb,
    /// The page and the API behind it (HTTP, 8079).
    FrontEnd,
    /// Shoppers: bounded load on the front-end.
    Load,
    /// Places orders (HTTP, 80).
    Orders,
    /// Documents of orders, in the manner of MongoDB (27017).
    OrdersDb,
    /// Authorises payments (HTTP, 80).
    Payment,
    /// Takes shipments out of the queue (HTTP, 80).
    QueueMaster,
    /// The queue, in the manner of AMQP 0-9-1 (5672).
    Rabbitmq,
    /// Metrics of the queue (HTTP, 9090).
    RabbitmqExporter,
    /// Sessions, in the manner of Redis (6379).
    SessionDb,
    /// Puts shipments into the queue (HTTP, 80).
    Shipping,
    /// Customers, addresses and cards (HTTP, 80).
    User,
    /// Documents of user, in the manner of MongoDB (27017).
    UserDb,
}

/// Why a role ended badly.
#[derive(Debug)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Runs a role until SIGTERM or SIGINT, then drains: what is in flight is finished.
pub fn run(args: Args) -> Result<(), Error> {
    Err(Error(format!("sock-shop: {:?} is not built yet", args.role)))
}
