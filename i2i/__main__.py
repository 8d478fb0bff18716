"""``python -m i2i`` is the command ``i2i``; also what torchrun and accelerate launch."""

from i2i.cli import main

if __name__ == "__main__":
    main()
