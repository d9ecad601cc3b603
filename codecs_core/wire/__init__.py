"""The wire formats, as pure functions and classes: bytes ⇄ values, no socket, no thread.

* `packet`: channel init and RAM packet headers of QEMU's multifd format, version 1.
* `channel`: the incremental parser of one multifd channel.
* `control`: the framed messages of a link's control connection.
* `qemu`: QEMU's main migration stream, as far as inspection needs it.
* `mapped_ram`: migration files with RAM at fixed places.
"""
