//! `--name value` pairs.

use std::str::FromStr;

use crate::Failure;

/// The flags an application was started with.
pub(super) struct Flags(Vec<(String, String)>);

impl Flags {
    pub(super) fn new(arguments: &[String]) -> Result<Flags, Failure> {
        let pair = |pair: &[String]| match pair {
            [name, value] => Ok((name.trim_start_matches('-').to_owned(), value.clone())),
            _ => Err(Failure::from("a flag without a value")),
        };
        arguments.chunks(2).map(pair).collect::<Result<_, _>>().map(Flags)
    }

    pub(super) fn text(&self, name: &str) -> Result<&str, Failure> {
        let found = self.0.iter().find(|(own, _)| own == name).map(|(_, value)| &**value);
        found.ok_or_else(|| format!("--{name} is missing").into())
    }

    pub(super) fn parsed<T: FromStr<Err: std::error::Error + 'static>>(&self, name: &str) -> Result<T, Failure> {
        Ok(self.text(name)?.parse()?)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        Ok(serde_json::from_str(self.text(name)?)?)
    }
}
