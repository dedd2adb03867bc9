"""Where and when a network looked, as pictures, arrays and pages."""
