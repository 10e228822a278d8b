//! Handshakes between two parts of the mesh, in memory: who is let in, who is refused and by which word, and what a resumed
//! session may still do. Every case runs over rustls' buffered and unbuffered API.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::sync::Arc;
use std::time::Duration;

use minimesh_identity::authority::Authority;
use minimesh_identity::{Alpn, Credentials, PeerError, PrivateKey, Refusal, SpiffeId, TrustBundle, control};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, HandshakeKind, ServerConfig};

use support::{Api, DOMAIN, HOUR, Outcome, Party, World, id, shake};

const APIS: [Api; 2] = [Api::Buffered, Api::Unbuffered];

fn refused(outcome: &Outcome) -> PeerError {
    let error = outcome.as_ref().expect_err("refused");
    PeerError::from_rustls(error).expect("the peer's fault")
}

fn code(outcome: &Outcome) -> &'static str {
    refused(outcome).code()
}

fn kinds(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, api: Api) -> (HandshakeKind, HandshakeKind) {
    let (client, server) = shake(api, client, server);
    (client.unwrap().kind, server.unwrap().kind)
}

#[test]
fn the_right_identity_is_let_in_and_named_on_both_sides() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        for alpn in Alpn::ALL {
            let config = front.client_config(&id("carts"), alpn).unwrap();
            let (client, server) = shake(api, &config, &carts.server_config());
            let (client, server) = (client.unwrap(), server.unwrap());
            assert_eq!((client.alpn, server.alpn), (Some(alpn), Some(alpn)));
            let now = world.clock.now();
            assert_eq!(front.check_server(client.peer.as_deref(), &id("carts"), now), Ok(()));
            assert_eq!(carts.check_client(server.peer.as_deref(), now), Ok(id("front-end")));
        }
    }
}

#[test]
fn the_mesh_prefers_post_quantum_key_exchange_and_aes_128() {
    let mut world = World::new();
    let config = world.client("front-end").client_config(&id("carts"), Alpn::Http).unwrap();
    let name = rustls::pki_types::ServerName::IpAddress(std::net::IpAddr::from([10, 42, 0, 5]).into());
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
    let mut server = rustls::ServerConnection::new(world.server("carts").server_config()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    server.read_tls(&mut &hello[..]).unwrap();
    server.process_new_packets().unwrap();
    let group = server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    let suite = server.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(server.server_name(), None, "an address is not told to the network twice");
}

#[test]
fn a_wrong_identity_is_refused_by_the_client_and_the_server_learns_why() {
    for api in APIS {
        let mut world = World::new();
        let (front, user) = (world.client("front-end"), world.server("user"));
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        let (client, server) = shake(api, &config, &user.server_config());
        let expected = PeerError::IdentityMismatch { expected: id("carts"), presented: id("user") };
        assert_eq!(refused(&client), expected);
        assert_eq!(refused(&server), PeerError::Refused(Refusal::Identity));
    }
}

#[test]
fn an_expired_or_future_certificate_is_refused_on_either_side() {
    for api in APIS {
        let mut world = World::new();
        let bundle = world.authority.bundle().unwrap();
        let front = world.client("front-end");
        let short = world.server.credentials(&world.authority, "carts", HOUR, bundle.clone());
        let to_carts = front.client_config(&id("carts"), Alpn::Http).unwrap();
        world.clock.forward(2 * HOUR);
        let (client, server) = shake(api, &to_carts, &short.server_config());
        assert_eq!((code(&client), code(&server)), ("tls_expired", "tls_refused_expired"));

        world.clock.back(3 * HOUR);
        let (client, _) = shake(api, &to_carts, &short.server_config());
        assert_eq!(code(&client), "tls_not_yet_valid");
        assert!(refused(&client).to_string().contains("clock"), "{}", refused(&client));

        world.clock.forward(HOUR);
        let short = world.client.credentials(&world.authority, "front-end", HOUR, bundle);
        let carts = world.server("carts");
        let to_carts = short.client_config(&id("carts"), Alpn::Http).unwrap();
        world.clock.forward(2 * HOUR);
        let (client, server) = shake(api, &to_carts, &carts.server_config());
        assert_eq!((code(&client), code(&server)), ("tls_refused_expired", "tls_expired"));
    }
}

#[test]
fn a_clock_ten_minutes_behind_the_authority_is_no_problem() {
    let mut world = World::new();
    let (front, carts) = (world.client("front-end"), world.server("carts"));
    world.clock.back(Duration::from_secs(9 * 60));
    let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
    assert_eq!(kinds(&config, &carts.server_config(), Api::Buffered), (Full, Full));
}

/// Credentials of another authority of the same trust domain and the same names; they trust both authorities.
fn impostor(world: &World, name: &str) -> Credentials {
    let foreign = Authority::create_at(DOMAIN, world.clock.now()).unwrap();
    let mut party = Party::new(&world.clock);
    party.credentials(&foreign, name, HOUR, both(&world.authority, &foreign))
}

fn both(one: &Authority, other: &Authority) -> TrustBundle {
    let roots = [one, other].iter().flat_map(|a| a.bundle().unwrap().roots().to_vec()).collect();
    TrustBundle::new(DOMAIN, roots).unwrap()
}

#[test]
fn a_foreign_root_is_refused_on_either_side() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        let (client, server) = shake(api, &config, &impostor(&world, "carts").server_config());
        assert_eq!((code(&client), code(&server)), ("tls_unknown_issuer", "tls_refused_unknown_issuer"));

        let config = impostor(&world, "front-end").client_config(&id("carts"), Alpn::Http).unwrap();
        let (client, server) = shake(api, &config, &carts.server_config());
        assert_eq!((code(&client), code(&server)), ("tls_refused_unknown_issuer", "tls_unknown_issuer"));
    }
}

#[test]
fn another_trust_domain_is_refused_even_if_its_root_is_in_the_bundle() {
    for api in APIS {
        let mut world = World::new();
        let other = Authority::create_at("other.local", world.clock.now()).unwrap();
        let stranger = SpiffeId::new("other.local", "shop", "front-end").unwrap();
        let key = PrivateKey::generate().unwrap();
        let chain = other.issue_at(&key.csr(None).unwrap(), &stranger, HOUR, world.clock.now()).unwrap();
        let carts = world.server.credentials(&world.authority, "carts", HOUR, both(&world.authority, &other));
        let config = world.client("front-end").client_config(&id("carts"), Alpn::Http).unwrap();
        let mut config = Arc::unwrap_or_clone(config);
        let certified = CertifiedKey::new(chain, Arc::new(key));
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        let (client, server) = shake(api, &Arc::new(config), &carts.server_config());
        assert_eq!(refused(&server), PeerError::ForeignTrustDomain { presented: stranger });
        assert_eq!(code(&client), "tls_refused_identity");
    }
}

#[test]
fn a_client_without_certificate_is_refused() {
    for api in APIS {
        let mut world = World::new();
        let carts = world.server("carts");
        let bundle = world.authority.bundle().unwrap();
        let mut config = Arc::unwrap_or_clone(control::client_config(&bundle, &id("carts"), None).unwrap());
        config.time_provider = world.clock.clone();
        config.alpn_protocols = vec![Alpn::Http.protocol().to_vec()];
        let (client, server) = shake(api, &Arc::new(config), &carts.server_config());
        assert_eq!((code(&client), code(&server)), ("tls_refused_no_certificate", "tls_no_certificate"));
    }
}

#[test]
fn another_protocol_is_refused() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        let mut config = Arc::unwrap_or_clone(front.client_config(&id("carts"), Alpn::Http).unwrap());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (client, server) = shake(api, &Arc::new(config), &carts.server_config());
        assert_eq!((refused(&client), refused(&server)), (PeerError::NoProtocol, PeerError::NoProtocol));
    }
}

#[test]
fn a_second_connection_is_resumed_and_still_checked() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        assert_eq!(kinds(&config, &carts.server_config(), api), (Full, Full));
        for _ in 0..5 {
            let (client, server) = shake(api, &config, &carts.server_config());
            let (client, server) = (client.unwrap(), server.unwrap());
            assert_eq!((client.kind, server.kind), (Resumed, Resumed));
            let now = world.clock.now();
            assert_eq!(front.check_server(client.peer.as_deref(), &id("carts"), now), Ok(()));
            assert_eq!(carts.check_client(server.peer.as_deref(), now), Ok(id("front-end")));
        }
    }
}

#[test]
fn sessions_belong_to_one_identity_and_one_protocol_configuration() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        let to_carts = front.client_config(&id("carts"), Alpn::Http).unwrap();
        assert_eq!(kinds(&to_carts, &carts.server_config(), api), (Full, Full));
        // The same address now has to be someone else: no ticket is offered, and the old one is refused.
        let to_user = front.client_config(&id("user"), Alpn::Http).unwrap();
        let (client, _) = shake(api, &to_user, &carts.server_config());
        assert_eq!(code(&client), "tls_identity_mismatch");
    }
}

#[test]
fn a_session_does_not_outlive_the_identity_behind_the_address() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        assert_eq!(kinds(&config, &carts.server_config(), api), (Full, Full));
        // Another process at the address, with other keys.
        let user =
            Party::new(&world.clock).credentials(&world.authority, "user", HOUR, world.authority.bundle().unwrap());
        let (client, _) = shake(api, &config, &user.server_config());
        assert_eq!(code(&client), "tls_identity_mismatch");
        // The same process with the same keys under another identity: the ticket is bound to the old one.
        assert_eq!(kinds(&config, &carts.server_config(), api), (Resumed, Resumed));
        let user = world.server("user");
        let (client, _) = shake(api, &config, &user.server_config());
        assert_eq!(code(&client), "tls_identity_mismatch");
    }
}

#[test]
fn a_renewed_leaf_keeps_the_servers_tickets_valid() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        assert_eq!(kinds(&config, &carts.server_config(), api), (Full, Full));
        let renewed = world.server("carts");
        assert_eq!(kinds(&config, &renewed.server_config(), api), (Resumed, Resumed));
    }
}

#[test]
fn a_shrunk_bundle_ends_sessions_of_the_removed_root() {
    for api in APIS {
        let mut world = World::new();
        let old = Authority::create_at(DOMAIN, world.clock.now()).unwrap();
        let all = both(&world.authority, &old);
        let front = world.client.credentials(&old, "front-end", 24 * HOUR, all.clone());
        let carts = world.server.credentials(&world.authority, "carts", 24 * HOUR, all);
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        assert_eq!(kinds(&config, &carts.server_config(), api), (Full, Full));
        let (_, before) = shake(api, &config, &carts.server_config());
        let before = before.unwrap();
        assert_eq!(before.kind, Resumed);

        let shrunk = world.server("carts");
        let (client, server) = shake(api, &config, &shrunk.server_config());
        assert_eq!((code(&client), code(&server)), ("tls_refused_unknown_issuer", "tls_unknown_issuer"));
        // A handshake that was complete when the bundle shrank.
        let now = world.clock.now();
        assert_eq!(shrunk.check_client(before.peer.as_deref(), now), Err(PeerError::StaleBundle));
        assert_eq!(front.check_own(now), Ok(()));
    }
}

#[test]
fn a_grown_bundle_costs_one_full_handshake() {
    let mut world = World::new();
    let (front, carts) = (world.client("front-end"), world.server("carts"));
    let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
    assert_eq!(kinds(&config, &carts.server_config(), Api::Buffered), (Full, Full));
    let next = Authority::create_at(DOMAIN, world.clock.now()).unwrap();
    let grown = world.server.credentials(&world.authority, "carts", HOUR, both(&world.authority, &next));
    assert_eq!(kinds(&config, &grown.server_config(), Api::Buffered), (Full, Full));
    assert_eq!(kinds(&config, &grown.server_config(), Api::Buffered), (Resumed, Resumed));
}

#[test]
fn a_resumed_session_of_an_expired_client_is_refused_by_the_check() {
    for api in APIS {
        let mut world = World::new();
        let bundle = world.authority.bundle().unwrap();
        let front = world.client.credentials(&world.authority, "front-end", Duration::from_secs(600), bundle);
        let carts = world.server("carts");
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        assert_eq!(kinds(&config, &carts.server_config(), api), (Full, Full));
        world.clock.forward(Duration::from_secs(601));
        let (_, server) = shake(api, &config, &carts.server_config());
        let server = server.unwrap();
        assert_eq!(server.kind, Resumed, "rustls asks no verifier");
        let refused = carts.check_client(server.peer.as_deref(), world.clock.now()).unwrap_err();
        assert_eq!(refused.code(), "tls_expired");
    }
}

#[test]
fn a_session_ends_with_the_servers_leaf() {
    for api in APIS {
        let mut world = World::new();
        let front = world.client("front-end");
        let bundle = world.authority.bundle().unwrap();
        let short = world.server.credentials(&world.authority, "carts", Duration::from_secs(600), bundle);
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        let (client, _) = shake(api, &config, &short.server_config());
        let first = client.unwrap();
        world.clock.forward(Duration::from_secs(601));
        let now = world.clock.now();
        assert_eq!(front.check_server(first.peer.as_deref(), &id("carts"), now).unwrap_err().code(), "tls_expired");
        // Renewed meanwhile: the ticket ended with the leaf that it was issued under.
        let renewed = world.server("carts");
        assert_eq!(kinds(&config, &renewed.server_config(), api), (Full, Full));
    }
}

#[test]
fn a_ticket_lives_for_half_an_hour_although_its_key_lives_for_an_hour() {
    for api in APIS {
        let mut world = World::new();
        let (front, carts) = (world.client("front-end"), world.server("carts"));
        let config = front.client_config(&id("carts"), Alpn::Http).unwrap();
        assert_eq!(kinds(&config, &carts.server_config(), api), (Full, Full));
        world.clock.forward(Duration::from_secs(29 * 60));
        assert_eq!(kinds(&config, &carts.server_config(), api), (Resumed, Resumed));
        world.clock.forward(Duration::from_secs(31 * 60));
        assert_eq!(kinds(&config, &carts.server_config(), api), (Full, Full));
    }
}

#[test]
fn a_tampered_certificate_check_after_the_handshake_finds_nothing_to_believe() {
    let mut world = World::new();
    let carts = world.server("carts");
    let now = world.clock.now();
    assert_eq!(carts.check_client(None, now), Err(PeerError::NoCertificate));
    assert_eq!(carts.check_client(Some(&[]), now), Err(PeerError::NoCertificate));
    let chain = world.client("front-end").leaf().chain().to_vec();
    assert_eq!(carts.check_client(Some(&chain), now), Ok(id("front-end")));
    assert!(carts.check_client(Some(&chain[..1]), now).is_err(), "without its issuer");
    let mut bytes = chain[0].to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(carts.check_client(Some(&[bytes.into(), chain[1].clone()]), now).is_err());
}

#[test]
fn the_control_connection_takes_clients_with_and_without_certificate_but_no_strangers() {
    for api in APIS {
        let mut world = World::new();
        let (front, plane) = (world.client("front-end"), world.server("control-plane"));
        let bundle = world.authority.bundle().unwrap();
        let server = control::server_config(&plane).unwrap();
        let named = control::client_config(&bundle, &id("control-plane"), Some(&front)).unwrap();
        let (client, seen) = shake(api, &named, &server);
        client.unwrap();
        let peer = seen.unwrap().peer.unwrap();
        assert_eq!(minimesh_identity::peer_id(&peer[0]), Ok(id("front-end")));

        let mut nameless = Arc::unwrap_or_clone(control::client_config(&bundle, &id("control-plane"), None).unwrap());
        nameless.time_provider = world.clock.clone();
        let (client, seen) = shake(api, &Arc::new(nameless), &server);
        client.unwrap();
        assert!(seen.unwrap().peer.is_none());

        let elsewhere = control::client_config(&bundle, &id("another"), Some(&front)).unwrap();
        let (client, _) = shake(api, &elsewhere, &server);
        assert_eq!(code(&client), "tls_identity_mismatch");
        let stranger = impostor(&world, "front-end");
        let stranger = control::client_config(stranger.bundle(), &id("control-plane"), Some(&stranger)).unwrap();
        let (_, seen) = shake(api, &stranger, &server);
        assert_eq!(code(&seen), "tls_unknown_issuer");
        assert_eq!(kinds(&named, &server, api), (Full, Full), "nothing is resumed");
    }
}
