<?php
// PHP's streams and its curl, each against PHP's own server and Node's. Arguments: two URLs. Prints what an application sees.

const OWN = '/^(connection|keep-alive|date):/i';

function shown(array $head, string|false $body): void
{
    foreach ($head as $line) {
        if (!preg_match(OWN, $line)) {
            echo substr(rtrim($line), 0, 200), "\n";
        }
    }
    echo $body === false ? 'failed' : (strlen($body) < 3000 ? $body : strlen($body) . ' ' . hash('sha256', $body)), "\n";
}

function streams(string $base, string $version): void
{
    $ask = function (string $path, array $options = []) use ($base, $version): void {
        echo "\n-- streams, HTTP/$version ", $options['method'] ?? 'GET', " $path\n";
        $http_response_header = [];
        $options += ['protocol_version' => $version, 'ignore_errors' => true, 'timeout' => 20];
        $body = @file_get_contents($base . $path, false, stream_context_create(['http' => $options]));
        shown($http_response_header, $body);
    };
    $ask('/echo?a=%20b&c');
    $ask('/echo', ['header' => ['X-Twice: one', 'X-Twice: two', 'x-LOWER-upper: Kept', 'X-Empty:']]);
    $ask('/echo', ['method' => 'POST', 'content' => 'a=1&b=2', 'header' => 'Content-Type: application/x-www-form-urlencoded']);
    $ask('/echo', ['method' => 'PUT', 'content' => str_repeat('large ', 500_000), 'header' => 'Content-Type: text/plain']);
    $ask('/echo', ['method' => 'HEAD']);
    foreach (['/headers', '/bytes?n=2000000', '/chunked', '/close', '/length', '/redirect', '/nowhere', '/abort', '/short'] as $path) {
        $ask($path);
    }
    foreach ([204, 304, 404, 503] as $code) {
        $ask("/status?code=$code");
    }
}

function curl_head(array &$head): Closure
{
    return function ($handle, string $line) use (&$head): int {
        $head[] = $line;
        return strlen($line);
    };
}

function with_curl(string $base): void
{
    $handle = curl_init();
    $ask = function (string $what, string $path, array $options = []) use ($base, $handle): void {
        echo "\n-- curl, $what $path\n";
        $head = [];
        curl_reset($handle);
        curl_setopt_array($handle, $options + [
            CURLOPT_URL => $base . $path, CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 20, CURLOPT_HEADERFUNCTION => curl_head($head),
        ]);
        shown(['', ...$head], curl_exec($handle));
        echo 'error ', curl_errno($handle), "\n";
    };
    $ask('get', '/echo?a=b');
    $ask('head', '/headers', [CURLOPT_NOBODY => true]);
    $ask('post', '/echo', [CURLOPT_POSTFIELDS => 'a=1&b=2']);
    // over a megabyte, so asks first (Expect: 100-continue)
    $ask('large post', '/echo', [CURLOPT_POSTFIELDS => str_repeat('x', 1_500_000)]);
    $ask('form', '/upload', [CURLOPT_POSTFIELDS => ['field' => 'value', 'file' => new CURLStringFile(str_repeat('file ', 100_000), 'a.txt', 'text/plain')], CURLOPT_HTTPHEADER => ['Content-Type: multipart/form-data; boundary=never-in-it']]);
    $pieces = array_map(fn ($number) => str_repeat("$number ", 1000), range(1, 20));
    $ask('put in chunks', '/echo', [CURLOPT_UPLOAD => true, CURLOPT_READFUNCTION => function () use (&$pieces) { return array_shift($pieces) ?? ''; }]);
    $ask('get', '/bytes?n=2000000');
    $ask('follow', '/redirect', [CURLOPT_FOLLOWLOCATION => true]);
    $ask('old', '/echo', [CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_0]);
    $ask('torn', '/abort');
    $ask('after it', '/echo');

    echo "\n-- curl, forty at once\n";
    $multi = curl_multi_init();
    $handles = [];
    foreach (range(1, 40) as $number) {
        $handles[$number] = curl_init("$base/echo?$number");
        curl_setopt_array($handles[$number], [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 20, CURLOPT_POSTFIELDS => str_repeat('x', $number * 1000)]);
        curl_multi_add_handle($multi, $handles[$number]);
    }
    do {
        curl_multi_exec($multi, $running);
    } while ($running && curl_multi_select($multi) !== -1);
    foreach ($handles as $number => $handle) {
        echo $number, ' ', curl_getinfo($handle, CURLINFO_RESPONSE_CODE), ' ', hash('sha256', curl_multi_getcontent($handle)), "\n";
    }
}

foreach (['PHP' => $argv[1], 'Node' => $argv[2]] as $server => $base) {
    echo "\n==== $server\n";
    streams($base, '1.0');
    streams($base, '1.1');
    with_curl($base);
}
