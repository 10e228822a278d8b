//! Prints docs/errors.md from the error table; `cargo xtask gen-docs` keeps the page.

use minimesh_proxy::error::{Retry, TABLE};

fn main() {
    println!("# Errors\n");
    println!("Written by `cargo xtask gen-docs` from the table in `proxy/src/error.rs`.\n");
    println!(
        "A response that a proxy made itself carries `minimesh-error: CODE`; the same word is the `error` label of its"
    );
    println!(
        "metrics and stands in its log. Its body is `application/problem+json` (RFC 9457) unless the client asks for HTML"
    );
    println!(
        "or plain text. *Retried*: the request provably did not reach the application, so it is sent to another endpoint,"
    );
    println!("whatever its method, before the client hears of it.\n");
    println!("| code | status | gRPC | logged | retried |");
    println!("|---|---|---|---|---|");
    let mut rows: Vec<_> = TABLE.iter().collect();
    rows.sort_by_key(|row| row.code);
    for row in rows {
        let retried = if row.retry == Retry::OtherEndpoint { "yes" } else { "no" };
        let level = row.level.to_string().to_lowercase();
        println!("| `{}` | {} {} | {} | {level} | {retried} |", row.code, row.status, row.title, row.grpc);
    }
}
