"""
Images for tests in which every program's clock is hours off; timers are not affected.

Building them takes long, so they are cached: call ``build`` before the tests to save time.
"""

from dev import images

TAG = "skewed"
HOURS = {"operator": 5, "runner": -5}
"""The offset in hours, by image."""


def build() -> list[str]:
    """Build the images if their base has changed. Return their names."""
    for target, hours in HOURS.items():
        images.vary(target, TAG, *_off_by(hours))
    return [images.name_of(target, TAG) for target in HOURS]


def provide(name: str) -> None:
    """Build the images and load them into the cluster."""
    images.load(name, build())


def _off_by(hours: int) -> list[str]:
    return [
        "USER 0:0",
        "RUN apt-get update && apt-get install -y --no-install-recommends libfaketime"
        " && ln -s /usr/lib/*/faketime/libfaketime.so.1 /usr/local/lib/libfaketime.so.1"
        " && rm -rf /var/lib/apt/lists/*",
        "ENV LD_PRELOAD=/usr/local/lib/libfaketime.so.1 FAKETIME_DONT_FAKE_MONOTONIC=1"
        f" NO_FAKE_STAT=1 FAKETIME={hours:+d}h",
        "USER 1000:1000",
    ]
