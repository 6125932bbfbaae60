"""A server that speaks like S3, on loopback: a bucket under Object Lock, and one without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

LOCKED, OPEN = "locked", "open"


@contextmanager
def serving() -> Iterator[str]:
    """Give the address of the server. While it runs, every client is let in, and no profile or proxy has a say."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "of-tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("NO_PROXY", "127.0.0.1")
        served = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        served.start()
        try:
            host, port = served.get_host_and_port()
            client = client_of(f"http://{host}:{port}")
            client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
            client.create_bucket(Bucket=OPEN)
            yield f"http://{host}:{port}"
        finally:
            served.stop()


def client_of(server: str) -> Any:
    """Give a client of our own: for what others may do to the bucket."""
    return boto3.client("s3", endpoint_url=server)
