//! Why routes could not be compiled.

/// Names the field, as in `http_routes[0].rules[2].matches[0].path`, and says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct CompileError {
    /// Path of the field, from the list of routes on.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// Where compilation stands, rendered only when something is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) parent: Option<&'a Place<'a>>,
    pub(crate) field: &'static str,
    pub(crate) index: Option<usize>,
}

impl<'a> Place<'a> {
    pub(crate) fn root(field: &'static str, index: usize) -> Place<'static> {
        Place { parent: None, field, index: Some(index) }
    }

    pub(crate) fn field(&'a self, field: &'static str) -> Place<'a> {
        Place { parent: Some(self), field, index: None }
    }

    pub(crate) fn item(&'a self, field: &'static str, index: usize) -> Place<'a> {
        Place { parent: Some(self), field, index: Some(index) }
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> CompileError {
        CompileError { field: self.render(), reason: reason.into() }
    }

    fn render(&self) -> String {
        let mut text = self.parent.map(|parent| parent.render() + ".").unwrap_or_default();
        text.push_str(self.field);
        if let Some(index) = self.index {
            text.push_str(&format!("[{index}]"));
        }
        text
    }
}
