"""Videos made on this machine: real encoded files in the official layouts, with the truth about their motion known."""
