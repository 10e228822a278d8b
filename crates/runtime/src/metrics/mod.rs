//! Cells to count with, and the text that scrapers read.
//!
//! A cell has one writer (the worker that owns it) and any number of readers: adding is a relaxed load and a relaxed store, no
//! read-modify-write. Two writers would lose counts, so cells are never shared between workers; the sums are made at scrape.
//!
//! Families, labels and names belong to the part that counts; it registers [`Exposed`] cells or a collector of its own.

mod cell;
mod histogram;

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

pub use cell::{Counter, Exposed, Gauge};
pub use histogram::{Bounds, Histogram, LATENCY_MS, SECONDS, Unit};

/// The content type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything in the registry as OpenMetrics text.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge;

    use super::*;

    #[test]
    fn text_is_openmetrics_with_help_type_and_end() {
        let mut registry = Registry::default();
        let counter = Exposed::new(Counter::new());
        let gauge = Exposed::new(Gauge::new());
        registry.register("accepted", "Connections accepted", counter.clone());
        registry.register("open", "Connections open", gauge.clone());
        counter.add(3);
        counter.increment();
        gauge.add(5);
        gauge.subtract(7);
        let expected = "# HELP accepted Connections accepted.\n# TYPE accepted counter\naccepted_total 4\n\
                        # HELP open Connections open.\n# TYPE open gauge\nopen -2\n# EOF\n";
        assert_eq!(encode(&registry).expect("to a String"), expected);
    }

    #[test]
    fn label_values_cannot_break_out_of_their_quotes() {
        let mut registry = Registry::default();
        let family = Family::<Vec<(String, String)>, gauge::Gauge>::default();
        registry.register("x", "X", family.clone());
        family.get_or_create(&vec![("name".into(), "a\"b\\c\nd".into())]).set(1);
        let text = encode(&registry).expect("to a String");
        assert!(text.contains("x{name=\"a\\\"b\\\\c\\nd\"} 1\n"), "{text}");
    }

    #[test]
    fn a_histogram_is_exposed_with_the_chosen_bounds() {
        let mut registry = Registry::default();
        let bounds = Arc::new(Bounds::new(Unit::Milliseconds, &[1.0, 10.0]));
        let histogram = Exposed::new(Histogram::new(bounds));
        registry.register("latency_ms", "Latency", histogram.clone());
        for micros in [500, 970, 5_000, 20_000] {
            histogram.record(micros);
        }
        let expected = "# HELP latency_ms Latency.\n# TYPE latency_ms histogram\nlatency_ms_sum 26.47\n\
                        latency_ms_count 4\nlatency_ms_bucket{le=\"1.0\"} 2\nlatency_ms_bucket{le=\"10.0\"} 3\n\
                        latency_ms_bucket{le=\"+Inf\"} 4\n# EOF\n";
        assert_eq!(encode(&registry).expect("to a String"), expected);
    }
}
