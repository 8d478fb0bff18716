"""The commands, one to a file: adding one is adding a file here, whose command has the file's name.

Each imports what it works with when it is called, so that ``i2i --help`` and mistakes are answered at once.
"""
