package io.grpc.testing.integration;

import java.lang.reflect.InvocationTargetException;
import java.util.EnumSet;
import java.util.Set;

/** grpc-java's interoperability client, all its cases in one process. Arguments: host and port of its own server, and of grpc-go's. */
public final class GrpcInterop {
    /** What needs TLS or a cloud's credentials, or what its own server does not do either (it refuses nothing that is sent uncompressed, and reports its load only to channels that are configured for it). */
    private static final Set<TestCases> LEFT_OUT = EnumSet.of(
        TestCases.CACHEABLE_UNARY, TestCases.CLIENT_COMPRESSED_UNARY, TestCases.CLIENT_COMPRESSED_STREAMING,
        TestCases.COMPUTE_ENGINE_CHANNEL_CREDENTIALS, TestCases.COMPUTE_ENGINE_CREDS, TestCases.GOOGLE_DEFAULT_CREDENTIALS,
        TestCases.JWT_TOKEN_CREDS, TestCases.OAUTH2_AUTH_TOKEN, TestCases.ORCA_OOB, TestCases.ORCA_PER_RPC,
        TestCases.PER_RPC_CREDS, TestCases.SERVICE_ACCOUNT_CREDS);
    /** What grpc-go's server does not do: it knows no compression, and takes 4 MB. */
    private static final Set<TestCases> NOT_OF_GO = EnumSet.of(
        TestCases.CLIENT_COMPRESSED_STREAMING_NOPROBE, TestCases.CLIENT_COMPRESSED_UNARY_NOPROBE, TestCases.VERY_LARGE_REQUEST);

    private static boolean failed;

    public static void main(String[] arguments) throws Exception {
        var cases = EnumSet.complementOf(EnumSet.copyOf(LEFT_OUT));
        run("grpc-java", cases, arguments[0], arguments[1]);
        cases.removeAll(NOT_OF_GO);
        run("grpc-go", cases, arguments[2], arguments[3]);
        System.exit(failed ? 1 : 0);
    }

    private static void run(String server, Set<TestCases> cases, String host, String port) throws Exception {
        for (var testCase : cases) {
            var client = new TestServiceClient();
            client.parseArgs(new String[] {
                "--server_host=" + host, "--server_port=" + port, "--use_tls=false", "--test_case=" + testCase.name().toLowerCase(),
                "--soak_iterations=20", "--soak_min_time_ms_between_rpcs=0", "--soak_overall_timeout_seconds=120",
                "--soak_per_iteration_max_acceptable_latency_ms=20000",
            });
            client.setUp();
            try {
                call(client, "run");
                System.out.println(server + ", " + testCase + ": passed");
            } catch (InvocationTargetException error) {
                System.out.println(server + ", " + testCase + ": failed");
                error.getCause().printStackTrace();
                failed = true;
            } finally {
                call(client, "tearDown");
            }
        }
    }

    /** Private, because its own main is who calls it; that one ends the process after one case. */
    private static void call(TestServiceClient client, String name) throws Exception {
        var method = TestServiceClient.class.getDeclaredMethod(name);
        method.setAccessible(true);
        method.invoke(client);
    }
}
