import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/** Java's own HTTP client. Arguments: URL of Node's http server, URL of Go's. Prints what an application sees. */
public final class Client {
    /** What neighbours say about their connection. */
    private static final Set<String> OWN = Set.of("connection", "keep-alive");

    private final URI base;
    private final HttpClient http;

    private Client(URI base, HttpClient.Version version) {
        this.base = base;
        this.http = HttpClient.newBuilder().version(version).connectTimeout(Duration.ofSeconds(20)).build();
    }

    public static void main(String[] arguments) throws Exception {
        var base = URI.create(arguments[0]);
        System.out.println("==== HTTP/1.1");
        new Client(base, HttpClient.Version.HTTP_1_1).run();
        // offers an upgrade to HTTP/2 with each request, which Go's server does not take (and Node's would take for another)
        System.out.println("\n==== as Java does by default");
        new Client(URI.create(arguments[1]), HttpClient.Version.HTTP_2).run();
        new Client(base, HttpClient.Version.HTTP_1_1).webSocket();
        System.exit(0);
    }

    private void run() throws Exception {
        for (var method : List.of("GET", "HEAD", "DELETE", "OPTIONS", "PATCH")) {
            ask(request("/echo?a=%20b").method(method, BodyPublishers.noBody()));
        }
        ask(request("/echo").header("X-Twice", "one").header("X-Twice", "two").header("x-LOWER-upper", "Kept"));
        ask(request("/echo").POST(BodyPublishers.ofString("small")));
        ask(request("/echo").POST(BodyPublishers.ofString("large ".repeat(500_000))));
        ask(request("/echo").POST(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream("in chunks ".repeat(10_000).getBytes()))));
        ask(request("/echo").expectContinue(true).PUT(BodyPublishers.ofString("after a 100")));
        for (var path : List.of("/headers", "/chunked", "/close", "/bytes?n=10000000", "/abort", "/abort-chunked", "/nowhere")) {
            ask(request(path));
        }
        for (var code : List.of(204, 304, 404, 418, 503)) {
            ask(request("/status?code=" + code));
        }
        atOnce();
    }

    private HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(base.resolve(path)).timeout(Duration.ofSeconds(20));
    }

    private void ask(HttpRequest.Builder builder) throws InterruptedException {
        var request = builder.build();
        System.out.printf("%n-- %s %s%n", request.method(), request.uri().getPath());
        try {
            var response = http.send(request, BodyHandlers.ofByteArray());
            System.out.printf("%s %d%n", response.version(), response.statusCode());
            new TreeMap<>(response.headers().map()).forEach((name, values) -> {
                if (!OWN.contains(name)) {
                    System.out.printf("%s: %.200s%n", name, values);
                }
            });
            System.out.println(shown(response.body()));
        } catch (IOException error) {
            System.out.println("failed " + error.getClass().getSimpleName());
        }
    }

    private static String shown(byte[] body) {
        return body.length < 2000 ? new String(body, StandardCharsets.ISO_8859_1) : body.length + " " + digest(body);
    }

    private static String digest(byte[] body) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body));
        } catch (java.security.NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    private void atOnce() {
        System.out.println("\n-- two hundred at once");
        List<CompletableFuture<HttpResponse<byte[]>>> answers = IntStream.range(0, 200)
            .mapToObj(number -> request("/echo?" + number).POST(BodyPublishers.ofString("x".repeat(number * 100))).build())
            .map(request -> http.sendAsync(request, BodyHandlers.ofByteArray()))
            .toList();
        for (var answer : answers) {
            System.out.printf("%d %s%n", answer.join().statusCode(), digest(answer.join().body()));
        }
    }

    private void webSocket() throws Exception {
        System.out.println("\n==== WebSocket");
        var heard = new LinkedBlockingQueue<String>();
        var listener = new WebSocket.Listener() {
            private final StringBuilder text = new StringBuilder();
            private int bytes;

            @Override
            public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
                text.append(data);
                if (last) {
                    heard.add("text " + text.length() + " " + digest(text.toString().getBytes(StandardCharsets.UTF_8)));
                    text.setLength(0);
                }
                socket.request(1);
                return null;
            }

            @Override
            public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer data, boolean last) {
                bytes += data.remaining();
                if (last) {
                    heard.add("binary " + bytes);
                    bytes = 0;
                }
                socket.request(1);
                return null;
            }

            @Override
            public CompletionStage<?> onPong(WebSocket socket, ByteBuffer data) {
                heard.add("pong " + StandardCharsets.UTF_8.decode(data));
                socket.request(1);
                return null;
            }

            @Override
            public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
                heard.add("closed " + code + " " + reason);
                return null;
            }
        };
        var uri = URI.create("ws" + base.toString().substring("http".length()) + "/socket");
        var socket = http.newWebSocketBuilder().buildAsync(uri, listener).join();
        for (var text : List.of("hello", "large ".repeat(100_000), "")) {
            socket.sendText(text, true).join();
            System.out.println(heard.poll(20, TimeUnit.SECONDS));
        }
        socket.sendBinary(ByteBuffer.allocate(1_000_000), true).join();
        System.out.println(heard.poll(20, TimeUnit.SECONDS));
        socket.sendPing(ByteBuffer.wrap("there?".getBytes())).join();
        System.out.println(heard.poll(20, TimeUnit.SECONDS));
        socket.sendClose(4000, "enough").join();
        System.out.println(heard.poll(20, TimeUnit.SECONDS));
    }
}
