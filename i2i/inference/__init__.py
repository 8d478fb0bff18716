"""From weight files to translated images. Never imports training."""
