<?php
// What PHP's own server answers: it says what it received, in the ways that PHP programs answer.

// what neighbours say about their connection is not compared, and the mesh says who asks
const OWN = ['connection', 'keep-alive', 'l5d-client-id'];

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
switch ($path) {
    case '/bytes':
        // of unknown length: it ends with the connection
        for ($left = (int) $_GET['n']; $left > 0; $left -= 1000) {
            echo str_repeat('0123456789', 100);
            flush();
        }
        break;
    case '/headers':
        header('HTTP/1.1 201 Made Here');
        header('X-CaSe: Kept');
        header('Set-Cookie: a=1; Path=/', false);
        header('Set-Cookie: b=2, 3', false);
        header('X-Long: ' . str_repeat('long ', 3000));
        header("X-Text: d\xe9j\xe0 vu");
        echo "headers\n";
        break;
    case '/length':
        header('Content-Length: 300000');
        echo str_repeat('abc', 100000);
        break;
    case '/redirect':
        header('Location: /echo?redirected', true, 307);
        break;
    case '/short':
        // promises more than it gives
        header('Content-Length: 1000');
        echo 'part of a body';
        break;
    case '/status':
        http_response_code((int) $_GET['code']);
        break;
    case '/upload':
        foreach ($_FILES as $name => $file) {
            echo "$name {$file['name']} {$file['type']} {$file['size']} ", hash_file('sha256', $file['tmp_name']), "\n";
        }
        var_export($_POST);
        break;
    default:
        $body = file_get_contents('php://input');
        echo "{$_SERVER['REQUEST_METHOD']} {$_SERVER['REQUEST_URI']} {$_SERVER['SERVER_PROTOCOL']}\n";
        foreach (getallheaders() as $name => $value) {
            if (!in_array(strtolower($name), OWN)) {
                echo "$name: $value\n";
            }
        }
        echo strlen($body), ' ', hash('sha256', $body), "\n";
}
