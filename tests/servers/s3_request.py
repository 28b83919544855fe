"""One signed request to an S3 server: what tests set up servers with (buckets, policies).

Not through snapstore: a mistake in its signatures would hide in its own tests.
Source: "Create a signed AWS API request", AWS IAM User Guide (Signature Version 4).
"""

import datetime
import hashlib
import hmac
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree


def _quote(text):
    return urllib.parse.quote(text, safe="-_.~")


def query_text(query):
    """Canonical, as it is signed."""
    return "&".join(f"{_quote(k)}={_quote(v)}" for k, v in sorted(query.items()))


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signed_headers(variables, method, host, path, query, body, headers=None, now=None):
    """The headers of a request with its signature; `query` is a dict, `path` is quoted already."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    region = variables.get("AWS_REGION", "us-east-1")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    payload = hashlib.sha256(body).hexdigest()
    used = {**(headers or {}), "host": host, "x-amz-date": stamp, "x-amz-content-sha256": payload}
    used = {name.lower(): value for name, value in used.items()}
    names = ";".join(sorted(used))
    text = "\n".join([
        method, path,
        query_text(query),
        *(f"{name}:{used[name]}" for name in sorted(used)), "", names, payload])
    key = ("AWS4" + variables["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = _hmac(key, part)
    signature = _hmac(key, "\n".join(["AWS4-HMAC-SHA256", stamp, scope,
                                      hashlib.sha256(text.encode()).hexdigest()])).hex()
    used["authorization"] = (f"AWS4-HMAC-SHA256 Credential={variables['AWS_ACCESS_KEY_ID']}/{scope}, "
                             f"SignedHeaders={names}, Signature={signature}")
    return used


def request(variables, method, path, query=None, body=b"", headers=None):
    """Sends it to variables["AWS_ENDPOINT_URL_S3"]; returns (status, body) whatever the status."""
    query = query or {}
    endpoint = urllib.parse.urlsplit(variables["AWS_ENDPOINT_URL_S3"])
    path = urllib.parse.quote(path, safe="/-_.~")
    signed = signed_headers(variables, method, endpoint.netloc, path, query, body, headers)
    url = variables["AWS_ENDPOINT_URL_S3"] + path
    if query:
        url += "?" + query_text(query)
    asked = urllib.request.Request(url, data=body if method in ("PUT", "POST") else None,
                                   headers=signed, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def make_bucket(variables, bucket):
    """That it exists already is fine."""
    status, body = request(variables, "PUT", f"/{bucket}")
    if status not in (200, 204, 409):
        raise OSError(f"bucket {bucket} could not be made: HTTP {status} {body[:500]!r}")


def list_keys(variables, bucket, prefix):
    """The keys that begin with `prefix`, of which there are few."""
    keys, token = [], None
    while True:
        query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
        status, body = request(variables, "GET", f"/{bucket}", query)
        if status != 200:
            raise OSError(f"list of {prefix}: HTTP {status}")
        root = xml.etree.ElementTree.fromstring(body)
        space = root.tag.partition("}")[0] + "}"
        keys += [node.findtext(space + "Key") for node in root.iter(space + "Contents")]
        token = root.findtext(space + "NextContinuationToken")
        if not token:
            return keys
