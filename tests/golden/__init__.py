"""Real items beside the checkout, as the local upstream serves them."""
