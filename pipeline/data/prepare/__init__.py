"""From a listing to a prepared data set, killable at any point."""
