#!/bin/sh
# curl to an Envoy in its own pod, which asks the other one: by HTTP/1.1, by HTTP/2, and by bytes. $1: a folder, $2: where it is.
set -u
here=$(dirname "$0")
cd "$1" || exit 1
seq 20000 > sent.txt
# one listener and one cluster for each protocol that it speaks to the other one
listener() {
    cat <<YAML
    - address: { socket_address: { address: 127.0.0.1, port_value: $1 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: client
                generate_request_id: false
                max_request_headers_kb: 96
                proxy_100_continue: true
                http_protocol_options: { accept_http_10: true, default_host_for_http_10: client, enable_trailers: true }
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{ match: { prefix: / }, route: { cluster: $2 } }]
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                      suppress_envoy_headers: true
YAML
}
cluster() {
    cat <<YAML
    - name: $1
      connect_timeout: 10s
      load_assignment:
        cluster_name: $1
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: ${address%:*}, port_value: ${address##*:} } } } }] }]
YAML
}
speaks() {
    cat <<YAML
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { $1 }
YAML
}
address=$2
{
    printf 'static_resources:\n  listeners:\n'
    listener 9080 one
    listener 9081 two
    cat <<YAML
    - address: { socket_address: { address: 127.0.0.1, port_value: 9082 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: bytes
                cluster: bytes
  clusters:
YAML
    cluster one
    speaks 'http_protocol_options: { enable_trailers: true }'
    cluster two
    speaks 'http2_protocol_options: {}'
    cluster bytes
} > client.yaml
PYTHONPATH="$MINIMESH_KIT_PYTHON" python3 -m envoy._main --config-path client.yaml --concurrency 1 --disable-hot-restart --log-level error &
envoy=$!
for port in 9080 9081 9082; do
    until curl -s -o /dev/null --fail "http://127.0.0.1:$port/status?code=200"; do :; done
    printf '\n==== %s\n' $port
    sh "$here/../haproxy/requests.sh" "http://127.0.0.1:$port" all
done
kill $envoy
