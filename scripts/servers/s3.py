"""The S3 server (Versity S3 Gateway on plain files), and a small client with signed requests.

Owns what stands below FOLDER/s3, and the bucket, which keeps versions.
"""

import datetime
import hashlib
import hmac
import http.client

from process import HOME, Failed, Server

PROGRAM = HOME / "bin" / "versitygw"
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def plan(ports):
    """The part of the state for a new server."""
    return {"endpoint": f"http://127.0.0.1:{next(ports)}", "access_key": "segno", "secret_key": "segno-secret",
            "region": "us-east-1", "bucket": "segno", "pid": None}


class S3(Server):
    name = "s3"

    def entry(self, state):
        return state["s3"]

    def place(self, part):
        return self.folder.path / "s3" / part

    def prepare(self):
        if not PROGRAM.exists():
            raise Failed("the S3 server is not installed: run scripts/servers/install.sh")
        self.place("objects").mkdir(parents=True, exist_ok=True)
        self.place("versions").mkdir(exist_ok=True)

    def command(self):
        s3 = self.settings
        # --quiet: a line for each request would fill the log of a long test.
        return [str(PROGRAM), "--quiet", "--port", s3["endpoint"].removeprefix("http://"), "--region", s3["region"],
                "--access", s3["access_key"], "--secret", s3["secret_key"], "--keep-alive",
                "posix", "--versioning-dir", str(self.place("versions")), str(self.place("objects"))]

    def unready(self):
        bucket = "/" + self.settings["bucket"]
        status, answer, _ = request(self.settings, "PUT", bucket)
        # 409: it is there already.
        if status in (200, 409):
            status, answer, _ = request(self.settings, "PUT", bucket, "versioning=", VERSIONING)
        return None if status == 200 else f"HTTP {status} {answer.decode(errors='replace')}"


def request(s3, method, path, query="", body=b"", headers=None):
    """One request, signed as AWS Signature Version 4 wants it. `path` and `query` are already escaped, `query` is sorted
    and has an equals sign after each name. Gives the status, the body and the headers."""
    host = s3["endpoint"].removeprefix("http://")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    sent.update({"host": host, "x-amz-date": now, "x-amz-content-sha256": digest})
    names = ";".join(sorted(sent))
    canonical = "\n".join([method, path, query, *(f"{name}:{sent[name]}" for name in sorted(sent)), "", names, digest])
    scope = f"{now[:8]}/{s3['region']}/s3/aws4_request"
    signed = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + s3["secret_key"].encode()
    for word in [*scope.split("/"), signed]:
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    sent["authorization"] = (f"AWS4-HMAC-SHA256 Credential={s3['access_key']}/{scope}, SignedHeaders={names}, "
                             f"Signature={key.hex()}")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request(method, path + ("?" + query if query else ""), body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
