//! What every part runs on.
