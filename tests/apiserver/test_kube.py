"""The client keeps the contract with a real API server, so the one in memory is like it."""

from tests.kube_contract import KubeContract


class TestKube(KubeContract):
    """The contract."""
