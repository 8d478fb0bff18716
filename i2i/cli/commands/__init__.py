"""One command per file. To add a command, add a file here whose command has the file's name.

Heavy imports happen when a command is called, so that ``i2i --help`` and usage errors are answered at once.
"""
