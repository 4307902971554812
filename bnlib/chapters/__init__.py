"""What each chapter of the book measures, decides and draws: one package a chapter, by its slug."""
