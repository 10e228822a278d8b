#!/bin/sh
# grpc-go's interoperability client: every case that its own server passes and that needs neither TLS nor a cloud's
# credentials (its server names no server ids and reports no load: not pick_first_unary and orca_*). $2: where the server is.
set -u
address=${2%:*} failed=0
address=${address#[} address=${address%]}
for case in empty_unary large_unary client_streaming server_streaming ping_pong empty_stream \
    timeout_on_sleeping_server cancel_after_begin cancel_after_first_response status_code_and_message \
    special_status_message custom_metadata unimplemented_method unimplemented_service rpc_soak channel_soak; do
    if said=$("$MINIMESH_KIT_GO/client" --server_host "$address" --server_port "${2##*:}" --test_case $case \
        --soak_iterations 50 --soak_min_time_ms_between_rpcs 0 --soak_overall_timeout_seconds 120 \
        --soak_per_iteration_max_acceptable_latency_ms 20000 2>&1); then
        echo "$case: passed"
    else
        echo "$case: failed"
        echo "$case: $said" >&2
        failed=1
    fi
done
exit $failed
