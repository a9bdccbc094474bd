"""What everybody wants, added up."""
