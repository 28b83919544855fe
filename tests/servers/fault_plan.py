"""What fault_proxy.py can do, and what is to go wrong in one run."""

import dataclasses
import json
import os
import urllib.parse

# Each with the kinds of request that it can befall: objects put, got, asked about and deleted, pages
# of lists; uploads begun, their parts, and their completion.
FAULTS = {
    "refused": (
        "put get head delete list begin part complete",
        "the connection is reset before anything is done"),
    "cut-request": ("put part", "the connection is reset while the body is on its way"),
    "answer-lost": (
        "put get head delete list begin part complete",
        "the connection is reset after the server has done what was asked"),
    "silence": ("put get head delete list complete", "no answer, the connection stays"),
    "answer-stalls": ("get list", "half of the body, then silence"),
    "answer-cut": ("get list", "half of the body, then the end"),
    "slow-down": ("put get head delete list begin part complete", "503 SlowDown"),
    "error": ("put get head delete list begin part complete", "500 InternalError, nothing done"),
    "done-but-error": ("put delete begin part complete", "500 InternalError, but it was done"),
    "done-but-unavailable": ("put delete complete", "503 without a body, but it was done"),
    "request-bit": ("put part complete", "a bit of the body flips on its way to the server"),
    "answer-bit": ("get", "a bit of the body flips on its way back"),
    "answer-bits-stay": ("get", "a bit of the body flips each time this object is asked for"),
    "bad-digest": ("put", "400 BadDigest"),
    "conflict": ("put", "409 ConditionalRequestConflict"),
    "twice": ("put get head delete part complete", "the server gets it twice, the second answer counts"),
    "late-again": ("put", "the server gets it once more, long after the answer"),
    "overtaken": ("put get head list", "it is kept back, and others go first"),
    "lost-then-late": ("put", "the connection is reset; the request is done a while later"),
    "length-too-long": ("get list", "Content-Length promises more than comes"),
    "length-too-short": ("get list", "Content-Length promises less than comes"),
    "other-range": ("get", "another range than was asked for"),
    "whole-object": ("get", "200 and everything instead of 206"),
    "ok-but-error": ("put list begin complete", "200 with an <Error> in it, nothing done"),
    "other-region": ("put get head delete list", "301 with a region"),
    "moved": ("put get head list", "307 to nowhere in particular"),
    "skewed": ("put get head list", "403 RequestTimeTooSkewed with a wrong Date"),
    "expired": ("put get head delete list", "400 ExpiredToken, nothing has expired"),
    "page-repeated": ("list", "the page before this one once more"),
    "page-without-token": ("list", "there is more, but not said how to get it"),
    "page-cut": ("list", "XML that ends in the middle"),
    "page-with-strangers": ("list", "keys that nobody asked for"),
}


@dataclasses.dataclass
class Plan:
    """What goes wrong in one run."""

    faults: tuple = ()          # names of FAULTS
    probability: float = 0.0    # of any, for each request
    page_keys: int = 0          # keys in a page of a list, at most; 0: as asked for
    tokens: "Tokens" = None     # session tokens that expire


class Tokens:
    """Session tokens token-0, token-1, …, each good for some requests; and a profile that has them.

    The program finds the current one in the way of `credential_process`.
    """

    def __init__(self, path, server, requests_each):
        self.path = path
        self.server = server
        self.requests_each = requests_each
        self.current = 0
        self.used = 0
        self.config = path + ".config"
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"[default]\ncredential_process = cat {path}\n")
        self._write()

    def _write(self):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump({"Version": 1, "AccessKeyId": self.server["AWS_ACCESS_KEY_ID"],
                       "SecretAccessKey": self.server["AWS_SECRET_ACCESS_KEY"],
                       "SessionToken": f"token-{self.current}"}, file)
        os.rename(self.path + ".new", self.path)

    def accepts(self, token):
        if token != f"token-{self.current}":
            return False
        self.used += 1
        if self.used == self.requests_each:
            self.current += 1
            self.used = 0
            self._write()
        return True


def kind_of(request):
    """(put, get, head, delete, list, begin, part, complete or other; the area of the repository)."""
    path, _, query = request.target.partition("?")
    words = path.strip("/").split("/")
    query = urllib.parse.parse_qs(query, keep_blank_values=True)
    if "list-type" in query:
        return "list", area_of(query.get("prefix", [""])[0].split("/"))
    kind = request.method.lower()
    if "delete" in query:
        kind = "delete"
    elif "uploads" in query and kind == "post":
        kind = "begin"
    elif "uploadId" in query:
        kind = {"put": "part", "post": "complete"}.get(kind, "other")
    elif len(words) < 2 or query or kind not in ("put", "get", "head", "delete"):
        kind = "other"
    return kind, area_of(words[1:])


def area_of(words):
    """Repositories of tests have a prefix of one component."""
    return words[1] if len(words) > 1 else ""
