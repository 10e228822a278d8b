//! Prints docs/reference/annotations.md; `cargo xtask gen-docs` runs it.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(minimesh_api::annotations::reference().as_bytes())
}
