"""An in-memory S3 server with one bucket."""

import os
import signal
import urllib.request

BUCKET = "agentrun"
PORT = 9000


def main() -> None:
    """Serve until killed."""
    # The first label of the Service's name is not a bucket.
    os.environ["S3_IGNORE_SUBDOMAIN_BUCKETNAME"] = "true"
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # only in the image

    ThreadedMotoServer(port=PORT, verbose=False).start()
    made = urllib.request.Request(f"http://127.0.0.1:{PORT}/{BUCKET}", method="PUT")
    urllib.request.urlopen(made, timeout=10).close()
    signal.pause()


if __name__ == "__main__":
    main()
