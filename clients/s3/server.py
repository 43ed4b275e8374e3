"""An S3 server for tests: moto's, one request at a time, with faults on demand.

moto looks whether a key is there and puts it in two steps, so two requests at once could both find
it absent; one at a time they cannot, as in a real store.

    python server.py 127.0.0.1 0                         prints {"port": …} and runs until it is ended
    curl -X PUT http://127.0.0.1:PORT/_faults -d '{…}'   replaces all faults

- `status` and `share`: that share of requests is answered with the status and not carried out.
- `lost`: that share of writes is carried out, and answered with 500 all the same.
- `conditional`: false makes a store that does not know `If-None-Match`.
- `denied`: true answers every request with 403 AccessDenied.

`GET /_counts` has the requests so far, by method. Shares are drawn from a seed, the third argument.
"""

import json
import random
import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>as the test wants it</Message></Error>"
CODES = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}
WRITES = ("PUT", "POST", "DELETE")


class Faulty:
    def __init__(self, app, seed):
        self.app = app
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.faults = {}
        self.counts = {}

    def __call__(self, environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        with self.lock:
            if path == "/_faults":
                length = int(environ.get("CONTENT_LENGTH") or 0)
                self.faults = json.loads(environ["wsgi.input"].read(length))
                return self.answer(start_response, "200 OK", "{}")
            if path == "/_counts":
                return self.answer(start_response, "200 OK", json.dumps(self.counts))
            self.counts[method] = self.counts.get(method, 0) + 1
            faults = self.faults
            if faults.get("denied"):
                return self.refuse(environ, start_response, 403)
            if self.random.random() < faults.get("share", 0):
                return self.refuse(environ, start_response, faults["status"])
            if faults.get("conditional") is False:
                environ.pop("HTTP_IF_NONE_MATCH", None)
            if method in WRITES and self.random.random() < faults.get("lost", 0):
                b"".join(self.app(environ, lambda *_: None))
                return self.refuse(environ, start_response, 500)
            told = []
            body = b"".join(self.app(environ, lambda status, headers, _=None: told.append((status, headers))))
        start_response(*told[0])
        return [body]

    def refuse(self, environ, start_response, status):
        # What was sent is read, or the connection would be of no more use.
        length = environ.get("CONTENT_LENGTH")
        if length:
            environ["wsgi.input"].read(int(length))
        return self.answer(start_response, f"{status} Refused", ERROR.format(CODES[status]))

    def answer(self, start_response, status, text):
        body = text.encode()
        start_response(status, [("content-type", "application/xml"), ("content-length", str(len(body)))])
        return [body]


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second would wait for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def log_request(self, *_):
        pass


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    app = Faulty(DomainDispatcherApplication(create_backend_app), seed)
    server = make_server(host, port, app, threaded=True, request_handler=Quiet)
    print(json.dumps({"port": server.server_port, "seed": seed}), flush=True)
    server.serve_forever()


main()
