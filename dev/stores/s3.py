"""Serve S3 from memory, with the one bucket there is."""

import signal
import urllib.request

BUCKET = "agentrun"
PORT = 9000


def main() -> None:
    """Serve until the process is killed."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # only in the image

    ThreadedMotoServer(port=PORT, verbose=False).start()
    made = urllib.request.Request(f"http://127.0.0.1:{PORT}/{BUCKET}", method="PUT")
    urllib.request.urlopen(made, timeout=10).close()
    signal.pause()


if __name__ == "__main__":
    main()
