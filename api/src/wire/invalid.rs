//! Why a message was refused, and where in it.

/// A message that the protocol does not allow. What it would have changed stays as it was; a proxy sends it back as `Nack`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Path of the offending field, as in `service.http_routes[0].rules[2].matches[0].path`.
    pub field: String,
    /// What is wrong with it, without the field's value.
    pub reason: String,
}

impl Invalid {
    /// A field (or path) and a reason.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Invalid {
        Invalid { field: field.into(), reason: reason.into() }
    }

    /// The same inside field `parent`.
    pub(super) fn under(mut self, parent: &str) -> Invalid {
        self.field = if self.field.is_empty() { parent.to_owned() } else { format!("{parent}.{}", self.field) };
        self
    }

    /// The same inside element `index` of the list `parent`.
    pub(super) fn under_item(self, parent: &str, index: usize) -> Invalid {
        self.under(&format!("{parent}[{index}]"))
    }
}
