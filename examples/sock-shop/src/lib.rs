//! The stand-in shop.
