"""File objects over codecs: several threads work on one file, in bounded memory.

`codecs_core.stream` opens them. A `FileWriter` cuts what is written into pieces, which threads
pack; a `FileReader` has members decoded ahead of where it is read. None of this knows a format:
that is `codecs_core.file_format`'s, and each codec's.
"""
