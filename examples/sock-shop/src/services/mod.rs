//! The HTTP services, one file each, and the data that the shop begins with.

pub(crate) mod carts;
pub(crate) mod catalogue;
pub(crate) mod exporter;
pub(crate) mod front_end;
pub(crate) mod orders;
pub(crate) mod payment;
pub(crate) mod pictures;
pub(crate) mod queue_master;
pub(crate) mod seeds;
pub(crate) mod shipping;
pub(crate) mod user;
