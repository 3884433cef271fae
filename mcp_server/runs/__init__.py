"""Creates, answers and cancels runs: from the arguments of a call to the objects."""
