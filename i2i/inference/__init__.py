"""From weight files to translated pictures. Never imports training."""
