"""``python -m i2i`` is the command ``i2i``; torchrun and accelerate launch it too."""

from i2i.cli import main

if __name__ == "__main__":
    main()
