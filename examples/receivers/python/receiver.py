"""A webhook receiver on Python's standard library.

    WEBHOOK_SECRET=whsec_... python3 receiver.py

PORT (9000) and SIGNATURE_HEADER (X-Webhook-Signature) can be set too.
"""

import hashlib
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 1 << 20  # bytes; four times what Tellhook sends at most


def verified(secret: str, raw_body: bytes, signature: str) -> bool:
    """Tell whether the signature is the raw body's, in constant time."""
    expected = hmac.new(secret.encode("utf-8"), raw_body, hashlib.sha256).hexdigest()
    # Bytes, because compare_digest refuses text that is not ASCII.
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape"))


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a connection may stay silent
    secret = ""
    signature_header = ""

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            self.answer(413 if length > MAX_BODY else 411, "send a body with a Content-Length")
            return
        # The signature covers the body's bytes as they came: verify before parsing.
        raw_body = self.rfile.read(length)
        if not verified(self.secret, raw_body, self.headers.get(self.signature_header, "")):
            print("401 signature does not match", flush=True)
            self.answer(401, "invalid signature")
            return
        try:
            event = json.loads(raw_body)
        except ValueError as error:
            print(f"400 {error}", flush=True)
            self.answer(400, "not a JSON body")
            return
        print(f"200 {event['event']} {event['event_id']} {json.dumps(event['data'])}", flush=True)
        # Answer first and work later: a delivery is given up after 10 seconds.
        self.answer(200, "ok")

    def answer(self, status: int, text: str) -> None:
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: do_POST prints what matters."""


def main() -> None:
    Receiver.secret = os.environ.get("WEBHOOK_SECRET", "")
    Receiver.signature_header = os.environ.get("SIGNATURE_HEADER", "X-Webhook-Signature")
    if not Receiver.secret:
        sys.exit("set WEBHOOK_SECRET to the secret that you got when you created the webhook")
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
