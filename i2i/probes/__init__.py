"""What a discriminator knows, and which maps of a generator draw what."""
