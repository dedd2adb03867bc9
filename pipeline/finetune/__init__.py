"""People correct the "when": clips that a network gets wrong, and its fine-tuning on what people say of them."""
