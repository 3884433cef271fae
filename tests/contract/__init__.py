"""What the stores promise, held against each of them."""
