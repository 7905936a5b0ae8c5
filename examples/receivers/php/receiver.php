<?php
// A webhook receiver for PHP's built-in server; as it stands it also works
// behind Apache or nginx.
//
//   WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:9000 receiver.php
//
// SIGNATURE_HEADER (X-Webhook-Signature) can be set too.

declare(strict_types=1);

const MAX_BODY = 1 << 20; // bytes; four times what Tellhook sends at most

function answer(int $status, string $text): never
{
    http_response_code($status);
    header('Content-Type: text/plain');
    exit($text . "\n");
}

$secret = getenv('WEBHOOK_SECRET');
if ($secret === false || $secret === '') {
    error_log('set WEBHOOK_SECRET to the secret that you got when you created the webhook');
    answer(500, 'receiver is not configured');
}
$header = getenv('SIGNATURE_HEADER') ?: 'X-Webhook-Signature';

// The signature covers the body's bytes as they came: verify before parsing.
$payload = file_get_contents('php://input', length: MAX_BODY + 1);
if ($payload === false || strlen($payload) > MAX_BODY) {
    answer(413, 'body too large');
}
$signature = $_SERVER['HTTP_' . strtoupper(strtr($header, '-', '_'))] ?? '';
$expected = hash_hmac('sha256', $payload, $secret);
if (! hash_equals($expected, $signature)) {
    error_log('401 signature does not match');
    answer(401, 'invalid signature');
}

try {
    $event = json_decode($payload, flags: JSON_THROW_ON_ERROR);
} catch (JsonException $e) {
    error_log('400 ' . $e->getMessage());
    answer(400, 'not a JSON body');
}
// Answer first and work later: a delivery is given up after 10 seconds.
error_log("200 {$event->event} {$event->event_id} " . json_encode($event->data, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES));
answer(200, 'ok');
