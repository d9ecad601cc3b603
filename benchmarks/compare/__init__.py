"""One harness for all comparisons: ``python -m benchmarks.compare``.

    plan        what is measured against what, and what is promised (`groups`: of what it is made)
    ours, qemu, pipes     the contenders; `workers` is what runs in processes of its own
    link        the loopback, or two hosts and a link of some rate
    runner      rounds in turns, one results file
    figures     medians, quotients, promises
    page, plots what people read

Each contender moves the same file from a process at one end to a process at the other, and reports
a `run.Run`. A row that cannot be measured says why, and the others go on.
"""
