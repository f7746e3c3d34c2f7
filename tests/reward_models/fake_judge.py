"""A chat endpoint in a thread, on this machine: it answers by a function, and remembers all."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeJudge:
    """What was asked, and what is answered.

    ``answer`` takes the request's texts, a dictionary with ``prompt`` and ``completion``, and the
    number of the request; it returns the answer's text, or ``(status, body, headers)``.
    """

    def __init__(self, answer):
        self.answer = answer
        self.requests, self.headers = [], []
        self.open, self.most_open = 0, 0
        self.lock = threading.Lock()
        self.url = ""

    @property
    def texts(self):
        return [json.loads(request["messages"][-1]["content"]) for request in self.requests]


def _handler(judge):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                judge.requests.append({**request, "path": self.path})
                judge.headers.append(dict(self.headers))
                number = len(judge.requests)
                judge.open += 1
                judge.most_open = max(judge.open, judge.most_open)
            answer = judge.answer(json.loads(request["messages"][-1]["content"]), number)
            with judge.lock:
                judge.open -= 1
            status, body, headers = answer if isinstance(answer, tuple) else (200, answer, {})
            if status == 200 and isinstance(body, str):
                body = {"choices": [{"message": {"role": "assistant", "content": body}}]}
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client waited no longer

        def log_message(self, *args):
            """Keeps quiet."""

    return Handler


@contextmanager
def fake_judge(answer=lambda texts, number: '{"score": 5}'):
    judge = FakeJudge(answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(judge)) as server:
        server.daemon_threads = True
        server.block_on_close = False
        judge.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield judge
        finally:
            server.shutdown()
            thread.join()
