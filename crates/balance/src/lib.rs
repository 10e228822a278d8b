//! Pure load balancers.
