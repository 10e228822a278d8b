//! HAProxy's: what a proxy in C without a mesh's features costs.

use std::net::Ipv4Addr;

use minimesh_benches::origin::{HTTP2, SINK};

use crate::certificates::{Certificates, dns_name};
use crate::peer::{inbound, outbound};
use crate::round::SERVICES;

/// The same cipher as ours; connections to servers shared, as ours are.
const HEAD: &str = "global
  nbthread 1
  maxconn 8000
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  http-reuse always
";

/// Of the client's side: plaintext in, TLS to the server's.
pub(crate) fn client(certificates: &Certificates, server: Ipv4Addr) -> String {
    let (authority, own, peer) = (certificates.authority(), certificates.leaf("client"), dns_name("server"));
    each(|port, mode, h2| {
        let alpn = if mode == "tcp" { String::new() } else { format!(" alpn {}", if h2 { "h2" } else { "http/1.1" }) };
        let proto = if h2 { " proto h2" } else { "" };
        format!(
            "  bind 0.0.0.0:{}{proto}\n  server s {server}:{port} ssl verify required ca-file {authority} crt {own} \
             ssl-min-ver TLSv1.3 sni str({peer}) verifyhost {peer}{alpn}{proto}\n",
            outbound(port)
        )
    })
}

/// Of the server's side: TLS in, plaintext to the application.
pub(crate) fn server(certificates: &Certificates) -> String {
    let (authority, own) = (certificates.authority(), certificates.leaf("server"));
    each(|port, mode, h2| {
        let alpn = if mode == "tcp" { "" } else { " alpn h2,http/1.1" };
        let proto = if h2 { " proto h2" } else { "" };
        format!(
            "  bind 0.0.0.0:{} ssl crt {own} ca-file {authority} verify required ssl-min-ver TLSv1.3{alpn}\n  \
             server s 127.0.0.1:{port}{proto}\n",
            inbound(port)
        )
    })
}

fn each(lines: impl Fn(u16, &str, bool) -> String) -> String {
    let mut text = HEAD.to_owned();
    for (name, port, _) in SERVICES {
        let mode = if port == SINK { "tcp" } else { "http" };
        text += &format!("listen {name}\n  mode {mode}\n{}", lines(port, mode, port == HTTP2));
    }
    text
}
