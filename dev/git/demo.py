"""The files of the small project that agents work on."""

FILES = {
    "README.md": "# demo\n",
    ".gitignore": "__pycache__/\n*.log\n",
    "demo/__init__.py": '"""A small project."""\n',
    "demo/calculator.py": '''\
"""Arithmetic, and its limits."""


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


def divide(a: float, b: float) -> float:
    """Divide ``a`` by ``b``."""
    return a / b
''',
    "tests/__init__.py": "",
    "tests/test_calculator.py": """\
import unittest

from demo.calculator import add, divide


class CalculatorTest(unittest.TestCase):
    def test_add(self) -> None:
        self.assertEqual(add(2, 3), 5)

    def test_divide(self) -> None:
        self.assertEqual(divide(6, 3), 2)
""",
}
