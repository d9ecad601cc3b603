"""QEMU: recordings of migrations, what they hold and what memory they rebuild."""
