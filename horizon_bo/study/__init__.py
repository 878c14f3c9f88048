"""Study: what is asked and what happened, as values."""
