//! Pure route tables.
