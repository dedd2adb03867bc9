"""Every table and figure of the papers by one command: what stands for a row, what is missing, what came out."""
