"""From notebooks to the book: check, execute, file and show; it knows no mathematics."""
