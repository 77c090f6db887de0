"""A proxy that hands requests on and loses the first answers, as a network does at the worst moment."""

import http.client
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultProxy:
    """Serves until the `with` block ends; loses the first `losses` answers to POST."""

    def __init__(self, target, losses):
        self.posts = []
        self._losses = losses
        self._lock = threading.Lock()
        self._target = urllib.parse.urlsplit(target).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                proxy.hand_on(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def hand_on(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self._target, timeout=60)
        try:
            connection.request(request.command, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if request.command == "POST" and self._is_lost(request):
            request.close_connection = True
            return
        request.send_response(answer.status)
        for name in ("Content-Type", "X-Muxi-Idempotent-Replay"):
            if answer.headers.get(name):
                request.send_header(name, answer.headers[name])
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _is_lost(self, request):
        with self._lock:
            self.posts.append((request.headers["Authorization"], request.headers["X-Muxi-Idempotency-Key"]))
            self._losses -= 1
            return self._losses >= 0
