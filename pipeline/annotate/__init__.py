"""Where people say when a video shows what it shows: the store, its HTTP service, sealed batches."""
