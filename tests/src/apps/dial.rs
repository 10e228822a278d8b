//! Connects and says whether that worked: for waiting until somebody else's server listens.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::flags::Flags;
use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let address: SocketAddr = flags.parsed("address")?;
    println!("{}", TcpStream::connect_timeout(&address, PATIENCE).is_ok());
    Ok(())
}
