//! A stand-in of the Sock Shop: fourteen services with the names, ports, call graph and HTTP surface of the original, and
//! the shoppers that use them. Each runs as `minimesh sock-shop ROLE`.
//!
//! ```text
//! front-end  -> catalogue, carts, orders, user, session-db       serve.rs      the HTTP server, and its drain
//! catalogue  -> catalogue-db                                     client.rs     the HTTP client, and its pool
//! carts      -> carts-db                                         wire/         the databases' and the queue's protocols
//! user       -> user-db                                          services/     what each HTTP service does
//! orders     -> user, carts, payment, shipping, orders-db        load.rs       the shoppers
//! shipping   -> rabbitmq                                         startup.rs    waiting for peers
//! queue-master -> rabbitmq                                       directory.rs  names to connections, dns.rs under it
//!                                                                page/         what a browser gets
//! ```
//!
//! Called by the minimesh program. Knows nothing of the mesh and must never use any other crate of the workspace: it stands
//! for somebody's application.

mod calendar;
mod client;
mod directory;
mod dns;
mod http;
mod ids;
mod load;
mod manifests;
mod pod;
mod serve;
mod services;
mod startup;
mod stop;
mod wire;

use std::{future::Future, rc::Rc};

use clap::{Args as ClapArgs, Subcommand};
use tokio::{net::TcpListener, task::LocalSet};

pub use manifests::MANIFESTS;

use directory::Directory;
use serve::{Service, serve};
use stop::Stop;
use wire::{documents::Store, queue::Broker, rows::Tables, sessions::Keys, stream};

/// What to run.
#[derive(Clone, Debug, ClapArgs)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// Which part of the shop.
    #[command(subcommand)]
    pub role: Role,
    /// Listen on this port instead of the role's own.
    #[arg(long, global = true, env = "MINIMESH_SHOP_PORT", value_name = "PORT")]
    pub port: Option<u16>,
    /// End at once on SIGTERM and leave whoever is being served, as programs do that know nothing of draining.
    #[arg(long, global = true, env = "MINIMESH_SHOP_ABRUPT")]
    pub abrupt: bool,
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
    Load(load::Args),
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

impl Role {
    /// The port of the original; shoppers listen on none.
    fn port(&self) -> Option<u16> {
        match self {
            Role::CartsDb | Role::OrdersDb | Role::UserDb => Some(27017),
            Role::CatalogueDb => Some(3306),
            Role::FrontEnd => Some(8079),
            Role::Load(_) => None,
            Role::Rabbitmq => Some(5672),
            Role::RabbitmqExporter => Some(9090),
            Role::SessionDb => Some(6379),
            Role::Carts
            | Role::Catalogue
            | Role::Orders
            | Role::Payment
            | Role::QueueMaster
            | Role::Shipping
            | Role::User => Some(80),
        }
    }
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

/// Runs a role until SIGTERM or SIGINT, then drains: what is in flight is finished, unless it is to end at once.
pub fn run(args: Args) -> Result<(), Error> {
    // one small process per role: a second thread would only cost memory
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = runtime.map_err(|error| Error(format!("sock-shop: cannot start: {error}")))?;
    LocalSet::new().block_on(&runtime, async {
        let stop = Stop::on_signals().map_err(|error| Error(format!("sock-shop: cannot watch signals: {error}")))?;
        let directory = Directory::default();
        let Some(port) = args.role.port().map(|own| args.port.unwrap_or(own)) else {
            return match args.role {
                Role::Load(args) => load::run(args, directory, stop).await,
                _ => Ok(()),
            };
        };
        if !startup::wait_for_peers(startup::peers(&args.role), &directory, stop.clone()).await {
            return Ok(());
        }
        let listener = TcpListener::bind(("0.0.0.0", port)).await.map_err(|error| {
            Error(format!("sock-shop: cannot listen on port {port}: {error}; another port can be given with --port"))
        })?;
        let mut asked = stop.clone();
        let abrupt = async {
            match args.abrupt {
                true => asked.asked().await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = part(&args.role, listener, directory, stop) => {}
            () = abrupt => {}
        }
        Ok(())
    })
}

/// Serves one part of the shop until it is asked to stop and has drained.
async fn part(role: &Role, listener: TcpListener, directory: Directory, stop: Stop) {
    use services::{
        carts::Carts, catalogue::Catalogue, exporter::Exporter, front_end::FrontEnd, orders::Orders, payment::Payment,
        queue_master::QueueMaster, seeds, shipping::Shipping, user::User,
    };
    match role {
        Role::Carts => http(listener, Carts::new(directory), stop).await,
        Role::CartsDb | Role::OrdersDb => tcp(listener, Store::default(), stop).await,
        Role::Catalogue => http(listener, Catalogue::new(directory), stop).await,
        Role::CatalogueDb => tcp(listener, Tables(seeds::tables()), stop).await,
        Role::FrontEnd => http(listener, FrontEnd::new(directory), stop).await,
        Role::Load(_) => {}
        Role::Orders => http(listener, Orders::new(directory), stop).await,
        Role::Payment => http(listener, Payment, stop).await,
        Role::QueueMaster => http(listener, QueueMaster::new(directory, stop.clone()), stop).await,
        Role::Rabbitmq => tcp(listener, Broker::default(), stop).await,
        Role::RabbitmqExporter => http(listener, Exporter { directory }, stop).await,
        Role::SessionDb => tcp(listener, Keys::default(), stop).await,
        Role::Shipping => http(listener, Shipping::new(directory, stop.clone()), stop).await,
        Role::User => http(listener, User::new(directory), stop).await,
        Role::UserDb => tcp(listener, Store::seeded(seeds::customers()), stop).await,
    }
}

fn http<S: Service>(listener: TcpListener, service: S, stop: Stop) -> impl Future<Output = ()> {
    serve(listener, Rc::new(service), stop)
}

fn tcp<S: stream::Server>(listener: TcpListener, server: S, stop: Stop) -> impl Future<Output = ()> {
    stream::serve(listener, Rc::new(server), stop)
}

#[cfg(test)]
mod tests;
