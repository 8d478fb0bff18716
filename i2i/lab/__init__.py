"""The theory of adversarial training, runnable: each module is one experiment, with the closed form beside it."""
