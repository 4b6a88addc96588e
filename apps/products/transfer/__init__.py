"""Products in CSV, in and out."""
