"""What a prepared data set is on disk or in a bucket."""
